// Package cli is the command line: one file per command, flags in and text out,
// no logic of the mesh. Results go to Env.Out, talk goes to Env.Err, and a
// failure is an error whose exit code Code knows.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

// Env is what a command sees of the world, so that tests run commands in process.
type Env struct {
	In       io.Reader
	Out, Err io.Writer
	Getenv   func(string) string
	// Terminal reports that Out is a terminal: colours and live progress are for
	// those only, and never with NO_COLOR.
	Terminal bool
	// Name is how this program was called; as kubectl's plugin (kubectl-lateen) its
	// help says `kubectl lateen`.
	Name string
}

// plugin is the name by which kubectl finds this program.
const plugin = "kubectl-lateen"

// Exit codes are those of istioctl.
const (
	ExitOK      = 0
	ExitFailure = 1
	ExitUsage   = 64 // the command line is wrong
	ExitBadData = 65 // the input is wrong
	ExitFound   = 79 // analyze found issues
)

// ExitError is an error with an exit code of its own.
type ExitError struct {
	Code int
	Err  error
}

// Error implements error.
func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// commands lists the constructors of all commands, in the order of the help text.
var commands = []func(*Env) *cobra.Command{
	newUpCommand,
	newDownCommand,
	newPsCommand,
	newLogsCommand,
	newExecCommand,
	newApplyCommand,
	newDeleteCommand,
	newGetCommand,
	newStatusCommand,
	newExplainCommand,
	newStatCommand,
	newEdgesCommand,
	newTopCommand,
	newTapCommand,
	newProxyStatusCommand,
	newProxyConfigCommand,
	newDescribeCommand,
	newAnalyzeCommand,
	newDoctorCommand,
	newDashboardCommand,
	newBugReportCommand,
	newValidateCommand,
	newInjectCommand,
	newCheckInjectCommand,
	newSampleCommand,
	newVersionCommand,
	newInstallCommand,
	newUninstallCommand,
	newManifestCommand,
	newProfileCommand,
	newUpgradeCommand,
	newTagCommand,
	newPrecheckCommand,
	newExperimentalCommand,
	newSandboxCommand,
	newControlPlaneCommand,
	newProxyCommand,
	newAgentCommand,
}

// New returns the root command of `lateen`.
func New(env *Env) *cobra.Command {
	root := &cobra.Command{
		Use:           "lateen",
		Short:         "A service mesh with Istio's APIs, on one machine or on Kubernetes",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	if env.Name == plugin {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl lateen"}
	}
	root.SetIn(env.In)
	root.SetOut(env.Out)
	root.SetErr(env.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &ExitError{Code: ExitUsage, Err: err} })
	for _, c := range commands {
		root.AddCommand(c(env))
	}
	return root
}

// Run executes the command line and returns the process's exit code; the error
// has been printed.
func Run(ctx context.Context, env *Env, args []string) int {
	ctx, cancel := context.WithCancel(ctx) // what a command has opened ends with it
	defer cancel()
	root := New(env)
	root.SetArgs(leadingFlags(args))
	err := root.ExecuteContext(ctx)
	if err == nil {
		return ExitOK
	}
	if msg := err.Error(); msg != "" {
		fmt.Fprintln(env.Err, "lateen: "+msg)
	}
	var e *ExitError
	if errors.As(err, &e) {
		return e.Code
	}
	return ExitFailure
}
