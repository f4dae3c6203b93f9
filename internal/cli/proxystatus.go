package cli

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/push"
)

func newProxyStatusCommand(env *Env) *cobra.Command {
	var mesh meshFlag
	var output, namespace string
	cmd := &cobra.Command{
		Use:     "proxy-status [WORKLOAD[.NAMESPACE]]",
		Aliases: []string{"ps-proxy", "proxystatus"},
		Short:   "Show how far each proxy is with its configuration",
		Long: `Show for each proxy that is connected to the control plane whether it has what it
should have: SYNCED, STALE (sent and not answered yet), NOT SENT (it did not ask
for any), or ERROR (it refused something; the reasons follow).`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c := mesh.meshClient(env)
			list, err := c.Proxies(cmd.Context())
			if err != nil {
				return mesh.explainMesh(err)
			}
			if len(args) == 1 {
				one, err := findProxy(cmd.Context(), c, args[0], namespace)
				if err != nil {
					return mesh.explainMesh(err)
				}
				list = []push.ProxyStatus{one}
			}
			if namespace != "" {
				list = slices.DeleteFunc(list, func(p push.ProxyStatus) bool { return !strings.HasSuffix(p.Name, "."+namespace) })
			}
			switch output {
			case "json":
				enc := json.NewEncoder(env.Out)
				enc.SetIndent("", "  ")
				return enc.Encode(list)
			case "":
				return printProxyStatus(env, list)
			}
			return usage("unknown output format %q: use json", output)
		},
	}
	mesh.register(env, cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "", "output format: json")
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only proxies of this namespace")
	return cmd
}

// syncColumns are istioctl's, in its order.
var syncColumns = []string{"cds", "lds", "eds", "rds"}

func printProxyStatus(env *Env, list []push.ProxyStatus) error {
	w := tabwriter.NewWriter(env.Out, 0, 8, 5, ' ', 0)
	fmt.Fprint(w, "NAME\tCLUSTER")
	for _, t := range syncColumns {
		fmt.Fprint(w, "\t", strings.ToUpper(t))
	}
	fmt.Fprintln(w, "\tDATA PLANE\tREVISION")
	for _, p := range list {
		fmt.Fprintf(w, "%s\t%s", p.Name, clusterName)
		for _, t := range syncColumns {
			fmt.Fprint(w, "\t", p.Types[t].State)
		}
		fmt.Fprintf(w, "\t%s\t%d\n", p.DataPlane, p.Revision)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range list {
		for _, r := range p.Refusals {
			fmt.Fprintf(env.Err, "%s refuses %s\n", p.Name, r)
		}
	}
	return nil
}

// clusterName is the name of the one cluster that a mesh has.
const clusterName = "Kubernetes"
