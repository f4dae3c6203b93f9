package cli

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lateen-mesh/lateen/internal/install"
)

func newProfileCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{Use: "profile", Short: "List and print sets of defaults for install"}
	cmd.AddCommand(
		&cobra.Command{
			Use: "list", Short: "List the profiles", Args: usageArgs(cobra.NoArgs),
			RunE: func(*cobra.Command, []string) error {
				fmt.Fprintln(env.Out, "Configuration profiles:")
				for _, name := range install.Profiles() {
					fmt.Fprintln(env.Out, "    "+name)
				}
				return nil
			},
		},
		&cobra.Command{
			Use: "dump [NAME]", Short: "Print a profile as an IstioOperator", Args: usageArgs(cobra.MaximumNArgs(1)),
			ValidArgs: install.Profiles(),
			RunE: func(_ *cobra.Command, args []string) error {
				name := "default"
				if len(args) > 0 {
					name = args[0]
				}
				spec, err := install.Profile(name)
				if err != nil {
					return &ExitError{Code: ExitBadData, Err: err}
				}
				return printObject(env.Out, &unstructured.Unstructured{Object: map[string]any{
					"apiVersion": "install.istio.io/v1alpha1", "kind": "IstioOperator", "spec": map[string]any(spec),
				}})
			},
		},
	)
	return cmd
}
