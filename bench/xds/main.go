// Command xds measures the control plane: what it costs to configure many proxies of a
// large mesh, and what each kind of change costs then. The proxies are gRPC clients in
// a process of their own that subscribe as Envoy does and read no more of what they
// get than names; the control plane is package push behind package xds/server, and
// this process, so that its CPU and memory are theirs.
//
//	go run ./bench/xds -services 1000 -proxies 200 -form delta
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "xds:", err)
		os.Exit(1)
	}
}

// settings are the command line.
type settings struct {
	services, proxies int
	plane             string // native, envoy
	form              string // delta, sotw
	clients           string // the address to connect to; "" in the control plane's process
}

func run(ctx context.Context, args []string, out io.Writer) error {
	var s settings
	f := flag.NewFlagSet("xds", flag.ContinueOnError)
	f.IntVar(&s.services, "services", 1000, "services of the mesh, two to five workloads each")
	f.IntVar(&s.proxies, "proxies", 200, "connected proxies")
	f.StringVar(&s.plane, "plane", "native", "whose configuration the proxies take: native or envoy")
	f.StringVar(&s.form, "form", "delta", "form of the protocol: delta or sotw")
	f.StringVar(&s.clients, "clients", "", "be the proxies of the control plane at this address")
	if err := f.Parse(args); err != nil {
		return err
	}
	if s.form != "delta" && s.form != "sotw" {
		return fmt.Errorf("form %q: want delta or sotw", s.form)
	}
	if s.clients != "" {
		return serveAsProxies(ctx, &s)
	}
	return measure(ctx, &s, out)
}

// startProxies starts the proxies in a process of their own; stop ends it.
func startProxies(ctx context.Context, s *settings, target string) (stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-clients", target, "-proxies", strconv.Itoa(s.proxies), "-services", strconv.Itoa(s.services), "-plane", s.plane, "-form", s.form)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the proxies: %w", err)
	}
	return func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		return cmd.Wait()
	}, nil
}

// cpu is the user and system time of this process.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
