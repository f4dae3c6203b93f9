// Command lateen-proxy is the data plane: sidecar and gateway proxy, with its
// identity, and the agent that keeps a stock Envoy in its place. It links nothing
// of Kubernetes and nothing of the control plane.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	agent "github.com/lateen-mesh/lateen/internal/agent/command"
	cni "github.com/lateen-mesh/lateen/internal/cni/command"
	intercept "github.com/lateen-mesh/lateen/internal/intercept/command"
	"github.com/lateen-mesh/lateen/internal/proxy/command"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the first signal drains, a second one ends at once
	env := &command.Env{Out: os.Stdout, Err: os.Stderr, Getenv: os.Getenv}
	table := append(command.Table(), command.Command{
		Name: agent.Name, Summary: agent.Summary,
		Run: func(ctx context.Context, env *command.Env, args []string) error {
			return agent.Run(ctx, env.Out, env.Err, args)
		},
	}, command.Command{
		Name: intercept.Name, Summary: intercept.Summary,
		Run: func(ctx context.Context, env *command.Env, args []string) error {
			return intercept.Run(ctx, env.Out, env.Err, env.Getenv, args)
		},
	}, command.Command{
		Name: cni.Name, Summary: cni.Summary,
		Run: func(ctx context.Context, env *command.Env, args []string) error {
			return cni.Run(ctx, env.Out, env.Err, env.Getenv, args)
		},
	})
	code := command.Main(ctx, env, cni.Arguments(os.Args), table)
	stop()
	os.Exit(code)
}
