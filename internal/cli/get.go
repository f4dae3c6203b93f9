package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
)

// getFlags are the flags of get.
type getFlags struct {
	home          homeFlags
	namespace     string
	allNamespaces bool
	selector      string
	output        string
	noHeaders     bool
}

func newGetCommand(env *Env) *cobra.Command {
	var f getFlags
	cmd := &cobra.Command{
		Use:   "get (KIND [NAME...] | KIND/NAME...)",
		Short: "Show configuration objects of a running mesh",
		Example: `  lateen get virtualservices
  lateen get vs reviews -o yaml
  lateen get svc,deploy -A`,
		ValidArgsFunction: completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), env, args)
		},
	}
	f.home.register(env, cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.namespace, "namespace", "n", api.DefaultNamespace, "namespace of the objects")
	flags.BoolVarP(&f.allNamespaces, "all-namespaces", "A", false, "objects of all namespaces")
	flags.StringVarP(&f.selector, "selector", "l", "", "labels of the objects, as in app=reviews")
	flags.StringVarP(&f.output, "output", "o", "", "output format: wide, json, yaml, name")
	flags.BoolVar(&f.noHeaders, "no-headers", false, "leave the heading line out")
	return cmd
}

// item is an object as the API gives it.
type item struct {
	kind *api.Kind
	raw  json.RawMessage
	doc  map[string]any
}

func (f *getFlags) run(ctx context.Context, env *Env, args []string) error {
	switch f.output {
	case "", "wide", "json", "yaml", "name":
	default:
		return usage("unknown output format %q: use wide, json, yaml or name", f.output)
	}
	targets, err := parseTargets(args)
	if err != nil {
		return err
	}
	if f.allNamespaces && slices.ContainsFunc(targets, func(t target) bool { return t.name != "" }) {
		return usage("a name cannot be given with --all-namespaces")
	}
	items, failed, err := f.fetch(ctx, env, targets)
	if err != nil {
		return err
	}
	if err := f.print(env, targets, items); err != nil {
		return err
	}
	if len(items) == 0 && failed == nil {
		where := " in " + f.namespace + " namespace."
		if f.allNamespaces {
			where = ""
		}
		fmt.Fprintln(env.Err, "No resources found"+where)
	}
	return failed
}

// fetch reads all targets. Objects that do not exist do not hide the others:
// failed names them.
func (f *getFlags) fetch(ctx context.Context, env *Env, targets []target) (items []item, failed, err error) {
	h, err := f.home.open(ctx, env)
	if err != nil {
		return nil, nil, err
	}
	client, err := h.Config(ctx)
	if err != nil {
		return nil, nil, h.Explain(env, err)
	}
	namespace := f.namespace
	if f.allNamespaces {
		namespace = ""
	}
	var missing []error
	for _, t := range targets {
		list, err := client.Objects(ctx, configapi.Query{Kind: t.kind.ID(), Namespace: namespace, Name: t.name, Selector: f.selector})
		var refused *configapi.Error
		if errors.As(err, &refused) && refused.Status == 404 {
			missing = append(missing, errors.New(refused.Error()))
			continue
		}
		if err != nil {
			return nil, nil, h.Explain(env, err)
		}
		for _, raw := range list.Items {
			it := item{kind: t.kind, raw: raw}
			if err := json.Unmarshal(raw, &it.doc); err != nil {
				return nil, nil, fmt.Errorf("reading the answer of the configuration API: %w", err)
			}
			items = append(items, it)
		}
	}
	return items, errors.Join(missing...), nil
}

func (f *getFlags) print(env *Env, targets []target, items []item) error {
	switch f.output {
	case "json", "yaml":
		if len(items) == 0 && targets[0].name != "" {
			return nil
		}
		var doc any = map[string]any{"apiVersion": "v1", "kind": "List", "items": rawItems(items), "metadata": map[string]any{}}
		if len(targets) == 1 && targets[0].name != "" {
			doc = items[0].raw
		}
		return printDocument(env, doc, f.output)
	case "name":
		for _, it := range items {
			fmt.Fprintf(env.Out, "%s/%s\n", it.kind.Resource(), it.text("metadata", "name"))
		}
		return nil
	}
	return printTables(env.Out, items, tableOptions{
		wide: f.output == "wide", namespaces: f.allNamespaces, noHeaders: f.noHeaders, prefix: severalKinds(targets),
	})
}

func rawItems(items []item) []json.RawMessage {
	raw := make([]json.RawMessage, 0, len(items))
	for _, it := range items {
		raw = append(raw, it.raw)
	}
	return raw
}

func severalKinds(targets []target) bool {
	for _, t := range targets {
		if t.kind != targets[0].kind {
			return true
		}
	}
	return false
}

// printDocument prints v as indented JSON or as YAML.
func printDocument(env *Env, v any, format string) error {
	text, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		return err
	}
	if format == "yaml" {
		if text, err = yaml.JSONToYAML(text); err != nil {
			return err
		}
		_, err = env.Out.Write(text)
		return err
	}
	_, err = fmt.Fprintln(env.Out, string(text))
	return err
}
