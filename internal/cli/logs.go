package cli

import (
	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/local/control"
)

func newLogsCommand(env *Env) *cobra.Command {
	var home homeFlags
	var t control.Target
	var o control.LogOptions
	cmd := &cobra.Command{
		Use:   "logs WORKLOAD",
		Short: "Print the output of a workload",
		Long: `Print the output of a workload: a pod, a Deployment or the value of a label "app".
With -c proxy it is that of its proxy, access log included.`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := home.refuseCluster(env, "kubectl logs "+args[0]+" -n "+t.Namespace+" [-c istio-proxy]"); err != nil {
				return err
			}
			c, _, err := home.mesh.controlClient(env)
			if err != nil {
				return err
			}
			t.Name = args[0]
			err = c.Logs(cmd.Context(), t, o, env.Out)
			if o.Follow && cmd.Context().Err() != nil {
				return nil // Ctrl-C is how following ends
			}
			return home.mesh.explainControl(err)
		},
	}
	home.register(env, cmd, "c")
	fl := cmd.Flags()
	fl.StringVarP(&t.Namespace, "namespace", "n", "default", "namespace of the workload")
	fl.StringVarP(&t.Container, "container", "c", "", "container; proxy is the sidecar (default the first)")
	fl.BoolVarP(&o.Follow, "follow", "f", false, "go on with what is written")
	fl.IntVar(&o.Tail, "tail", -1, "only the last lines; -1 for all")
	return cmd
}
