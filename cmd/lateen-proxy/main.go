// Command lateen-proxy is the data plane: sidecar and gateway proxy, with its
// identity. It links nothing of Kubernetes and nothing of the control plane.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/lateen-mesh/lateen/internal/proxy/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	env := &command.Env{Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}
	code := command.Main(ctx, env, os.Args[1:], command.Table())
	stop()
	os.Exit(code)
}
