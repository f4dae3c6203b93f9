package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/install"
	"github.com/lateen-mesh/lateen/internal/kube/apply"
)

func newUpgradeCommand(env *Env) *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Bring an installation in place to this version",
		Long: `Show what this version and these settings change in the cluster, ask, and do it.
Settings are not remembered: give the files and flags that the installation was
made with.

Proxies keep running while the control plane is replaced; pods get the new proxy
when they are restarted. To run two versions side by side instead, install with
--revision.`,
		Example: "  lateen upgrade -f operator.yaml\n  lateen upgrade --dry-run",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.upgrade(cmd.Context(), env) },
	}
	f.register(cmd)
	return cmd
}

func (f *installFlags) upgrade(ctx context.Context, env *Env) error {
	plan, err := f.settings.plan(env, f.cluster.namespace)
	if err != nil {
		return err
	}
	if f.output != "" {
		return usage("-o %s: upgrade prints differences; install --dry-run -o yaml prints objects", f.output)
	}
	cluster, err := f.cluster.connect(ctx)
	if err != nil {
		return err
	}
	in := &install.Installer{Cluster: cluster, Say: func(line string) { fmt.Fprintln(env.Out, line) }}
	version, err := in.Installed(ctx, plan)
	if err != nil {
		return err
	}
	fmt.Fprintf(env.Out, "Installed: %s. This upgrades it to %s.\n", version, describe(plan))
	differences, err := in.Diff(ctx, plan)
	if err != nil {
		return err
	}
	printDifferences(env, differences)
	if f.dryRun || len(differences) == 0 {
		return nil
	}
	if !f.yes {
		ok, err := confirm(env, "%s will change. Proceed? (y/N) ", count(len(differences), "object", "objects"))
		if err != nil || !ok {
			return err
		}
	}
	return f.apply(ctx, env, plan)
}

func printDifferences(env *Env, differences []install.Difference) {
	if len(differences) == 0 {
		fmt.Fprintln(env.Out, "Nothing changes.")
		return
	}
	for _, d := range differences {
		switch {
		case d.Removed:
			fmt.Fprintf(env.Out, "- %s\n", d.Ref)
		case d.Change == apply.Created:
			fmt.Fprintf(env.Out, "+ %s\n", d.Ref)
		default:
			fmt.Fprint(env.Out, d.Text)
		}
	}
}
