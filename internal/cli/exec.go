package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/local/control"
)

func newExecCommand(env *Env) *cobra.Command {
	var home homeFlags
	t := control.Target{}
	cmd := &cobra.Command{
		Use:   "exec WORKLOAD -- COMMAND [ARG...]",
		Short: "Run a command inside a workload",
		Long: `Run a command inside a workload, with its network, its view of the machine and its
environment, and with this terminal's input and output. The exit code is the
command's.`,
		Example: `  lateen exec curl -- curl -s http://httpbin:8000/headers`,
		Args:    usageArgs(cobra.MinimumNArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := home.refuseCluster(env, "kubectl exec "+args[0]+" -n "+t.Namespace+" -- "+strings.Join(args[1:], " ")); err != nil {
				return err
			}
			c, _, err := home.mesh.controlClient(env)
			if err != nil {
				return err
			}
			t.Name = args[0]
			return execute(cmd.Context(), env, &home.mesh, c, t, args[1:])
		},
	}
	home.register(env, cmd, "c", "i")
	fl := cmd.Flags()
	fl.StringVarP(&t.Namespace, "namespace", "n", "default", "namespace of the workload")
	fl.StringVarP(&t.Container, "container", "c", "", "container (default the first)")
	fl.BoolP("stdin", "i", true, "accepted for kubectl's habits: input is always passed on")
	fl.BoolP("tty", "t", true, "accepted for kubectl's habits: a terminal is passed on as it is")
	fl.SetInterspersed(true)
	return cmd
}

func execute(ctx context.Context, env *Env, mesh *meshFlag, c *control.Client, t control.Target, args []string) error {
	in, err1 := asFile(env.In)
	out, err2 := asFile(env.Out)
	errs, err3 := asFile(env.Err)
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	var vars []string
	if term := env.Getenv("TERM"); term != "" && env.Terminal {
		vars = append(vars, "TERM="+term)
	}
	signals, stop := passSignals()
	defer stop()
	// An interrupt is for the command: it, not this context, ends the call.
	code, err := c.Exec(context.WithoutCancel(ctx), t, control.Command{Args: args, Env: vars}, in, out, errs, signals)
	if err != nil {
		return mesh.explainControl(err)
	}
	if code != 0 {
		return &ExitError{Code: code, Err: errSilent}
	}
	return nil
}

// asFile gives the descriptor of a stream, which the command gets as it is.
func asFile(stream any) (*os.File, error) {
	switch f := stream.(type) {
	case *os.File:
		return f, nil
	case io.Reader, io.Writer:
		return nil, fmt.Errorf("the command's input and output must be files, not %T", f)
	}
	return os.OpenFile(os.DevNull, os.O_RDWR, 0)
}
