package cli

import (
	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/install"
)

func newManifestCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{Use: "manifest", Short: "Print the objects of an installation"}
	var f settingsFlags
	var namespace string
	generate := &cobra.Command{
		Use:   "generate",
		Short: "Print what install would apply, without a cluster",
		Long: `Print the objects that the Helm charts give for a profile and values, in the
order in which they are installed. The same as install --dry-run -o yaml.`,
		Example: `  lateen manifest generate --set profile=demo > lateen.yaml
  lateen manifest generate -f operator.yaml | kubectl apply --server-side -f -`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			plan, err := f.plan(env, namespace)
			if err != nil {
				return err
			}
			return printPlan(env, plan)
		},
	}
	f.register(generate)
	generate.Flags().StringVarP(&namespace, "istioNamespace", "i", install.DefaultNamespace, "namespace of the control plane")
	cmd.AddCommand(generate)
	return cmd
}
