package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/local/control"
)

// controlClient speaks to the control socket of the mesh that f names.
func (f *meshFlag) controlClient(env *Env) (*control.Client, local.Dirs, error) {
	if _, err := f.client(env); err != nil { // checks the name
		return nil, local.Dirs{}, err
	}
	dirs, err := local.FindDirs(f.name, env.Getenv)
	if err != nil {
		return nil, dirs, err
	}
	return control.NewClient(dirs.Runtime), dirs, nil
}

// explainControl turns an error of the control socket into one for the user.
func (f *meshFlag) explainControl(err error) error {
	switch {
	case errors.Is(err, control.ErrNotRunning):
		hint := "lateen up"
		if f.name != defaultMesh {
			hint += " --name " + f.name
		}
		return fmt.Errorf("no mesh named %q is running; start it with `%s`", f.name, hint)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	}
	return err
}

func newDownCommand(env *Env) *cobra.Command {
	var mesh meshFlag
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "down",
		Short: "End a mesh on this machine",
		Long: `End a mesh on this machine and wait until nothing of it is left. What was applied
is kept for the next "lateen up".`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return down(ctx, env, &mesh)
		},
	}
	mesh.register(env, cmd)
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "how long to wait for the end")
	return cmd
}

func down(ctx context.Context, env *Env, mesh *meshFlag) error {
	c, dirs, err := mesh.controlClient(env)
	if err != nil {
		return err
	}
	if err := c.Down(ctx); err != nil {
		return mesh.explainControl(err)
	}
	for dirs.Running() {
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("mesh %q is still ending; its log is %s", mesh.name, upLog(dirs))
		}
	}
	fmt.Fprintf(env.Err, "mesh %q has ended\n", mesh.name)
	return nil
}
