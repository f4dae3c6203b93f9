package cli

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/duration"

	"github.com/lateen-mesh/lateen/internal/local/supervise"
)

func newPsCommand(env *Env) *cobra.Command {
	var mesh meshFlag
	var namespace, output string
	cmd := &cobra.Command{
		Use:   "ps",
		Short: "List the workloads of a running mesh",
		Args:  usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output != "" && output != "json" && output != "wide" {
				return usage("unknown output format %q: use json or wide", output)
			}
			c, _, err := mesh.controlClient(env)
			if err != nil {
				return err
			}
			all, err := c.Pods(cmd.Context())
			if err != nil {
				return mesh.explainControl(err)
			}
			list := []supervise.Status{}
			for _, p := range all {
				if namespace == "" || p.Namespace == namespace {
					list = append(list, p)
				}
			}
			if output == "json" {
				enc := json.NewEncoder(env.Out)
				enc.SetIndent("", "  ")
				return enc.Encode(list)
			}
			return printPods(env, list, output == "wide")
		},
	}
	mesh.register(env, cmd)
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "", "only workloads of this namespace")
	cmd.Flags().StringVarP(&output, "output", "o", "", "output format: json, wide")
	return cmd
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
