package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
)

// deleteFlags are the flags of delete.
type deleteFlags struct {
	changeFlags
	selector       string
	all            bool
	ignoreNotFound bool
}

func newDeleteCommand(env *Env) *cobra.Command {
	var f deleteFlags
	cmd := &cobra.Command{
		Use:   "delete (-f FILE | KIND NAME... | KIND/NAME... | KIND -l SELECTOR | KIND --all)",
		Short: "Delete configuration from a running mesh",
		Example: `  lateen delete -f routes.yaml
  lateen delete virtualservice reviews
  lateen delete dr --all -n default`,
		ValidArgsFunction: completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), env, args)
		},
	}
	f.register(env, cmd, "delete")
	cmd.Flags().StringVarP(&f.selector, "selector", "l", "", "labels of the objects, as in app=reviews")
	cmd.Flags().BoolVar(&f.all, "all", false, "all objects of the kind in the namespace")
	cmd.Flags().BoolVar(&f.ignoreNotFound, "ignore-not-found", false, "missing objects are no error")
	return cmd
}

func (f *deleteFlags) run(ctx context.Context, env *Env, args []string) error {
	dry, err := f.dry()
	if err != nil {
		return err
	}
	if err := f.home.refuseCluster(env, "kubectl delete"); err != nil {
		return err
	}
	client, err := f.home.mesh.client(env)
	if err != nil {
		return err
	}
	var changes []configapi.Changes
	switch {
	case len(f.inputs.files) > 0 && len(args) > 0:
		return usage("give -f or names, not both")
	case len(f.inputs.files) > 0:
		files, err := f.inputs.read(env)
		if err != nil {
			return err
		}
		c, err := client.DeleteFiles(ctx, files, configapi.ChangeOptions{Namespace: f.namespace, DryRun: dry})
		if err != nil {
			return f.home.mesh.explain(env, err)
		}
		changes = append(changes, c)
	default:
		queries, err := f.queries(args)
		if err != nil {
			return err
		}
		for _, q := range queries {
			c, err := client.Delete(ctx, q, dry)
			if err != nil {
				return f.home.mesh.explain(env, err)
			}
			changes = append(changes, c)
		}
	}
	return f.finish(ctx, env, client, changes, dry)
}

// queries turns the arguments into one query for each object, or one for the
// kind with a selector or --all.
func (f *deleteFlags) queries(args []string) ([]configapi.Query, error) {
	targets, err := parseTargets(args)
	if err != nil {
		return nil, err
	}
	namespace := f.namespace
	if namespace == "" {
		namespace = api.DefaultNamespace
	}
	var queries []configapi.Query
	for _, t := range targets {
		if t.name == "" && f.selector == "" && !f.all {
			return nil, usage("name the objects, or give a selector (-l) or --all")
		}
		if t.name != "" && (f.selector != "" || f.all) {
			return nil, usage("names cannot stand beside -l and --all")
		}
		queries = append(queries, configapi.Query{Kind: t.kind.ID(), Namespace: namespace, Name: t.name, Selector: f.selector})
	}
	return queries, nil
}

func (f *deleteFlags) finish(ctx context.Context, env *Env, client *configapi.Client, changes []configapi.Changes, dry bool) error {
	var revision int64
	var missing []configapi.Problem
	deleted := 0
	for _, c := range changes {
		revision = max(revision, c.Revision)
		missing = append(missing, c.Missing...)
		for _, o := range c.Objects {
			deleted++
			fmt.Fprintf(env.Out, "%s %q deleted%s\n", o.Resource, o.Name, drySuffix(dry))
		}
	}
	if len(missing) > 0 && !f.ignoreNotFound {
		var lines []string
		for _, p := range missing {
			lines = append(lines, p.String())
		}
		return fmt.Errorf("%s", strings.Join(lines, "\n"))
	}
	if deleted == 0 && len(missing) == 0 {
		fmt.Fprintln(env.Err, "No resources found")
	}
	if f.wait && !dry {
		return f.await(ctx, env, client, revision)
	}
	return nil
}
