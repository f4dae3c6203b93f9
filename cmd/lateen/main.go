// Command lateen is the whole mesh in one binary: command line, control plane,
// local mode and the proxy.
package main

import (
	"context"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/lateen-mesh/lateen/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	env := &cli.Env{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv, Terminal: cli.IsTerminal(os.Stdout), Name: filepath.Base(os.Args[0])}
	code := cli.Run(ctx, env, os.Args[1:])
	stop()
	os.Exit(code)
}
