package cli

import (
	"errors"

	"github.com/spf13/cobra"

	plane "github.com/lateen-mesh/lateen/internal/controlplane/command"
	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/local/sandbox"
	proxy "github.com/lateen-mesh/lateen/internal/proxy/command"
)

// errSilent ends a command whose failure has been told already.
var errSilent = errors.New("")

// roles are what a local mesh starts this binary as.
var roles = local.Roles{
	SandboxSetup: []string{"sandbox", "setup"},
	SandboxInit:  []string{"sandbox", "init"},
	ControlPlane: []string{"control-plane"},
	Proxy:        []string{"proxy"},
	Agent:        []string{"agent"},
}

// newSandboxCommand holds the steps of a workload's sandbox.
func newSandboxCommand(*Env) *cobra.Command {
	cmd := &cobra.Command{Use: "sandbox", Hidden: true}
	cmd.AddCommand(
		&cobra.Command{Use: "setup", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return sandbox.Setup(roles.SandboxInit) }},
		&cobra.Command{Use: "init", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return sandbox.Init() }},
	)
	return cmd
}

// newControlPlaneCommand runs the control plane as a process.
func newControlPlaneCommand(env *Env) *cobra.Command {
	return plane.New(env.Err, readBuildInfo().Version)
}

// newProxyCommand runs the commands of lateen-proxy.
func newProxyCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use: "proxy", Short: "Run a command of lateen-proxy", Hidden: true, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			code := proxy.Main(cmd.Context(), &proxy.Env{Out: env.Out, Err: env.Err, Getenv: env.Getenv}, args, proxy.Table())
			if code != 0 {
				return &ExitError{Code: code, Err: errSilent}
			}
			return nil
		},
	}
}

// newAgentCommand keeps the Envoy of a workload.
func newAgentCommand(env *Env) *cobra.Command {
	return &cobra.Command{
		Use: "agent FILE", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return local.RunAgent(cmd.Context(), args[0], env.Out, env.Err)
		},
	}
}
