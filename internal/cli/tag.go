package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/install"
)

// tagFlags are the flags of the commands below tag.
type tagFlags struct {
	cluster clusterFlags
	options install.TagOptions
	yes     bool
	output  string
}

func newTagCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tag",
		Short: "Name revisions: set, generate, list, remove",
		Long: `A tag is a name for a revision of the control plane. Namespaces labelled
istio.io/rev=TAG belong to the revision that the tag points to; moving the tag
moves them all, and their pods follow when they are restarted. The tag "default"
stands for istio-injection=enabled as well.`,
	}
	cmd.AddCommand(newTagSetCommand(env), newTagGenerateCommand(env), newTagListCommand(env), newTagRemoveCommand(env))
	return cmd
}

func (f *tagFlags) register(cmd *cobra.Command) {
	f.cluster.register(cmd)
	cmd.Flags().StringVarP(&f.options.Revision, "revision", "r", "", "revision that the tag points to")
	cmd.Flags().StringVar(&f.options.WebhookName, "webhook-name", "", "name of the tag's webhook, instead of istio-revision-tag-TAG")
	cmd.Flags().BoolVar(&f.options.Overwrite, "overwrite", false, "move a tag that exists")
	cmd.Flags().BoolVar(&f.options.EnableNamespacesByDefault, "auto-inject-namespaces", false, "with the tag default: answer for namespaces that say nothing")
	cmd.Flags().BoolVarP(&f.yes, "skip-confirmation", "y", false, "do not ask")
}

func (f *tagFlags) installer(ctx context.Context, env *Env) (*install.Installer, error) {
	cluster, err := f.cluster.connect(ctx)
	if err != nil {
		return nil, err
	}
	f.options.Namespace = f.cluster.namespace
	return &install.Installer{Cluster: cluster, Say: func(line string) { fmt.Fprintln(env.Out, line) }}, nil
}

func newTagSetCommand(env *Env) *cobra.Command {
	var f tagFlags
	cmd := &cobra.Command{
		Use: "set TAG --revision REVISION", Short: "Make or move a tag",
		Example: "  lateen tag set prod --revision 1-24-0\n  lateen tag set prod --revision 1-25-0 --overwrite",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.options.Name = args[0]
			in, err := f.installer(cmd.Context(), env)
			if err != nil {
				return err
			}
			if err := in.SetTag(cmd.Context(), f.options); err != nil {
				return err
			}
			fmt.Fprintf(env.Out, "Revision tag %q created, referencing control plane revision %q. To enable injection using this\nrevision tag, use 'kubectl label namespace <NAMESPACE> istio.io/rev=%s'\n",
				f.options.Name, f.options.Revision, f.options.Name)
			return nil
		},
	}
	f.register(cmd)
	return cmd
}

func newTagGenerateCommand(env *Env) *cobra.Command {
	var f tagFlags
	cmd := &cobra.Command{
		Use: "generate TAG --revision REVISION", Short: "Print the objects of a tag",
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			f.options.Name, f.options.Overwrite = args[0], true
			in, err := f.installer(cmd.Context(), env)
			if err != nil {
				return err
			}
			objects, err := in.TagObjects(cmd.Context(), f.options)
			if err != nil {
				return err
			}
			for _, o := range objects {
				fmt.Fprintln(env.Out, "---")
				if err := printObject(env.Out, o); err != nil {
					return err
				}
			}
			return nil
		},
	}
	f.register(cmd)
	return cmd
}

func newTagListCommand(env *Env) *cobra.Command {
	var f tagFlags
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"show"}, Short: "List the tags", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			in, err := f.installer(cmd.Context(), env)
			if err != nil {
				return err
			}
			tags, err := in.Tags(cmd.Context())
			if err != nil {
				return err
			}
			return printTags(env, tags, f.output)
		},
	}
	f.cluster.register(cmd)
	cmd.Flags().StringVarP(&f.output, "output", "o", "table", "output format: table, json")
	return cmd
}

func printTags(env *Env, tags []install.Tag, output string) error {
	switch output {
	case "json":
		enc := json.NewEncoder(env.Out)
		enc.SetIndent("", "    ")
		return enc.Encode(tags)
	case "table":
	default:
		return usage("unknown output format %q: use table or json", output)
	}
	if len(tags) == 0 {
		fmt.Fprintln(env.Out, "No Istio revision tags to list")
		return nil
	}
	w := newTable(env.Out)
	w.row("TAG", "REVISION", "NAMESPACES")
	for _, t := range tags {
		w.row(t.Name, t.Revision, strings.Join(t.Namespaces, ","))
	}
	return w.flush()
}

func newTagRemoveCommand(env *Env) *cobra.Command {
	var f tagFlags
	cmd := &cobra.Command{
		Use: "remove TAG", Aliases: []string{"delete"}, Short: "Remove a tag", Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, err := f.installer(cmd.Context(), env)
			if err != nil {
				return err
			}
			done, err := in.RemoveTag(cmd.Context(), args[0], func(users []string) (bool, error) {
				fmt.Fprintf(env.Out, "Caution, found %s still injected by tag %q: %s\n", count(len(users), "namespace", "namespaces"), args[0], strings.Join(users, ", "))
				if f.yes {
					return true, nil
				}
				return confirm(env, "Proceed with operation? (y/N) ")
			})
			if err != nil || !done {
				return err
			}
			fmt.Fprintf(env.Out, "Revision tag %s removed\n", args[0])
			return nil
		},
	}
	f.cluster.register(cmd)
	cmd.Flags().BoolVarP(&f.yes, "skip-confirmation", "y", false, "do not ask")
	return cmd
}
