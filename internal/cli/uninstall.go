package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/install"
)

// uninstallFlags are the flags of uninstall.
type uninstallFlags struct {
	cluster  clusterFlags
	revision string
	purge    bool
	yes      bool
	dryRun   bool
}

func newUninstallCommand(env *Env) *cobra.Command {
	var f uninstallFlags
	cmd := &cobra.Command{
		Use:   "uninstall [--revision NAME | --purge]",
		Short: "Remove the mesh from a Kubernetes cluster",
		Long: `Remove a control plane and all that is its own: webhooks, rights, configuration,
leases, what it remembers and, with the last one, the root certificates in all
namespaces. Without flags that is the control plane without a revision.

--purge removes everything of Lateen: all revisions, the certificate authority's
secret, and the kinds of Istio's APIs that Lateen has installed, with the objects
that people made of them. Kinds that somebody else has installed stay, as do
namespaces, and what Helm has installed.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	f.cluster.register(cmd)
	cmd.Flags().StringVarP(&f.revision, "revision", "r", "", "control plane to remove")
	cmd.Flags().BoolVar(&f.purge, "purge", false, "remove everything of Lateen")
	cmd.Flags().BoolVarP(&f.yes, "skip-confirmation", "y", false, "do not ask")
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "only list what would be removed")
	cmd.MarkFlagsMutuallyExclusive("revision", "purge")
	return cmd
}

func (f *uninstallFlags) run(ctx context.Context, env *Env) error {
	cluster, err := f.cluster.connect(ctx)
	if err != nil {
		return err
	}
	in := &install.Installer{Cluster: cluster, Say: func(line string) { fmt.Fprintln(env.Out, line) }}
	removal := install.Removal{Namespace: f.cluster.namespace, Revision: f.revision, Purge: f.purge}
	if !f.purge && f.revision == "" {
		removal.Revision = "default"
	}
	gone, kept, err := in.Remove(ctx, removal)
	if err != nil {
		return err
	}
	for _, ref := range kept {
		fmt.Fprintf(env.Err, "! %s stays: Helm has installed it, use helm uninstall\n", ref)
	}
	if len(gone) == 0 {
		fmt.Fprintln(env.Out, "Nothing of Lateen is installed.")
		return nil
	}
	if f.dryRun {
		for _, ref := range gone {
			fmt.Fprintln(env.Out, ref)
		}
		return nil
	}
	if f.purge && !f.yes {
		fmt.Fprintln(env.Out, "All Lateen resources will be pruned from the cluster, with all objects of Istio's kinds.")
	}
	if !f.yes {
		ok, err := confirm(env, "%s will be removed. Proceed? (y/N) ", count(len(gone), "object", "objects"))
		if err != nil || !ok {
			return err
		}
	}
	if err := in.Uninstall(ctx, removal); err != nil {
		return err
	}
	fmt.Fprintln(env.Out, "✔ Uninstall complete")
	return nil
}
