package cli

import (
	"bytes"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
)

func newValidateCommand(env *Env) *cobra.Command {
	var inputs inputFlags
	cmd := &cobra.Command{
		Use:     "validate -f FILE",
		Aliases: []string{"v"},
		Short:   "Check configuration files without a mesh",
		Long: `Check Istio and Kubernetes objects in files, directories or standard input: their
form and their values, as apply does. No mesh needs to run. Objects of other kinds
among them, such as a StatefulSet, are read over. The exit code is 65 if something
is wrong.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			if len(inputs.files) == 0 {
				return usage("must specify -f")
			}
			return validateInputs(env, &inputs)
		},
	}
	inputs.register(cmd, "check")
	return cmd
}

func validateInputs(env *Env, inputs *inputFlags) error {
	return checkInputs(env, inputs, func(name string, objects, others int) {
		what := count(objects, "object", "objects")
		if others > 0 {
			what += fmt.Sprintf(", %d of kinds that the mesh does not read", others)
		}
		fmt.Fprintf(env.Out, "%q is valid (%s)\n", name, what)
	})
}

// checkInputs reports every mistake of the files, and valid for those without.
func checkInputs(env *Env, inputs *inputFlags, valid func(name string, objects, others int)) error {
	files, err := inputs.read(env)
	if err != nil {
		return err
	}
	mistakes := 0
	for _, f := range files {
		objects, others, err := api.DecodeMixed(bytes.NewReader(f.Content), f.Name, api.DefaultNamespace)
		before := mistakes
		for _, e := range api.DecodeErrors(err) {
			mistakes++
			fmt.Fprintln(env.Err, e)
		}
		for _, o := range objects {
			for _, e := range validate.Object(o) {
				mistakes++
				fmt.Fprintln(env.Err, e)
			}
			for _, w := range validate.Warnings(o) {
				fmt.Fprintln(env.Err, "Warning: "+w.Error())
			}
		}
		if mistakes == before {
			valid(f.Name, len(objects), len(others))
		}
	}
	if mistakes > 0 {
		return &ExitError{Code: ExitBadData, Err: fmt.Errorf("%s found", count(mistakes, "error", "errors"))}
	}
	return nil
}
