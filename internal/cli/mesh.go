package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
)

// defaultMesh is the name of the mesh that commands mean where none is given.
const defaultMesh = "default"

// meshFlag is the --name flag of commands that speak to a running mesh.
type meshFlag struct {
	name     string
	flagName string // "" for "name"
}

func (f *meshFlag) register(env *Env, cmd *cobra.Command) {
	name := env.Getenv("LATEEN_NAME")
	if name == "" {
		name = defaultMesh
	}
	cmd.Flags().StringVar(&f.name, cmp.Or(f.flagName, "name"), name, "name of the mesh (environment: LATEEN_NAME)")
}

// runtimeDir is where a mesh keeps its sockets: $XDG_RUNTIME_DIR/lateen/NAME, or
// /tmp/lateen-UID/NAME.
func runtimeDir(env *Env, name string) string {
	if dir := env.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "lateen", name)
	}
	return filepath.Join("/tmp", "lateen-"+strconv.Itoa(os.Getuid()), name)
}

// client speaks to the configuration API of the mesh that f names.
func (f *meshFlag) client(env *Env) (*configapi.Client, error) {
	if f.name == "" || f.name != filepath.Base(f.name) || f.name == "." || f.name == ".." {
		return nil, usage("%q is not the name of a mesh", f.name)
	}
	return configapi.NewClient(filepath.Join(runtimeDir(env, f.name), configapi.SocketName)), nil
}

// explain turns an error of the API into one for the user: what to do when no
// mesh is there, and one line for each problem.
func (f *meshFlag) explain(env *Env, err error) error {
	var refused *configapi.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, configapi.ErrNotRunning):
		hint := "lateen up"
		if f.name != defaultMesh {
			hint += " --name " + f.name
		}
		return fmt.Errorf("no mesh named %q is running; start it with `%s`", f.name, hint)
	case errors.As(err, &refused):
		return problemsError(env, refused.Problems, refused.Status)
	case errors.Is(err, context.Canceled):
		return errors.New("interrupted")
	}
	return err
}

// problemsError prints problems, if there are several, and gives the error that
// the command ends with.
func problemsError(env *Env, problems []configapi.Problem, status int) error {
	code := ExitFailure
	if status == 422 {
		code = ExitBadData
	}
	if len(problems) == 1 {
		return &ExitError{Code: code, Err: errors.New(problems[0].String())}
	}
	for _, p := range problems {
		fmt.Fprintln(env.Err, p.String())
	}
	return &ExitError{Code: code, Err: fmt.Errorf("%d errors; nothing was changed", len(problems))}
}

func usage(format string, args ...any) error {
	return &ExitError{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}

// usageArgs makes the errors of a cobra argument check errors of usage.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &ExitError{Code: ExitUsage, Err: err}
		}
		return nil
	}
}
