package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/lateen-mesh/lateen/internal/local/supervise"
)

func newPsCommand(env *Env) *cobra.Command {
	var f proxyStatusFlags
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the workloads of a mesh on this machine, or the proxies in a cluster",
		Long: `List the workloads of a running mesh on this machine. In a cluster, where kubectl
lists pods, it is the short form of proxy-status.`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.home.refuseCluster(env, "") != nil {
				return f.run(cmd.Context(), env, args)
			}
			if len(args) > 0 {
				return usage("the workloads of a mesh on this machine are listed all: no argument is known")
			}
			return f.workloads(cmd.Context(), env)
		},
	}
	f.register(env, cmd)
	cmd.Flags().Lookup("output").Usage = "output format: json, and wide on this machine, yaml in a cluster"
	return cmd
}

// workloads lists those of the mesh on this machine.
func (f *proxyStatusFlags) workloads(ctx context.Context, env *Env) error {
	if err := oneOf(f.output, "", "json", "wide"); err != nil {
		return err
	}
	mesh := &f.home.mesh
	c, _, err := mesh.controlClient(env)
	if err != nil {
		return err
	}
	all, err := c.Pods(ctx)
	if err != nil {
		return mesh.explainControl(err)
	}
	list := []supervise.Status{}
	for _, p := range all {
		if f.namespace == "" || p.Namespace == f.namespace {
			list = append(list, p)
		}
	}
	if f.output == "json" {
		enc := json.NewEncoder(env.Out)
		enc.SetIndent("", "  ")
		return enc.Encode(list)
	}
	return printPods(env, list, f.output == "wide")
}

func printPods(env *Env, list []supervise.Status, wide bool) error {
	if len(list) == 0 {
		fmt.Fprintln(env.Err, "No workloads found")
		return nil
	}
	w := tabwriter.NewWriter(env.Out, 6, 4, 3, ' ', 0)
	header := "NAMESPACE\tNAME\tREADY\tSTATUS\tRESTARTS\tAGE\tIP"
	if wide {
		header += "\tMESSAGE"
	}
	fmt.Fprintln(w, header)
	for _, p := range list {
		ip := "<none>"
		if p.Addr.IsValid() {
			ip = p.Addr.String()
		}
		fmt.Fprintf(w, "%s\t%s\t%d/%d\t%s\t%d\t%s\t%s", p.Namespace, p.Name, p.Ready, p.Parts, p.Phase, p.Restarts, duration.HumanDuration(time.Since(p.Created)), ip)
		if wide {
			fmt.Fprint(w, "\t"+p.Message)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}
