package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
)

// statusFlags are the flags of status.
type statusFlags struct {
	home      homeFlags
	namespace string
	output    string
}

func newStatusCommand(env *Env) *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status [KIND [NAME] | KIND/NAME]",
		Short: "Show what became of each configuration object",
		Long: `Show the verdict on each configuration object: whether it acts as written, is
shadowed by another, waits for something, selects nothing, or is not supported,
and the same for fields of it; and on how many of the connected proxies all that
is in force, with those that are behind or refuse something by name. Files of
watched directories that are broken are listed as well.`,
		Args:              usageArgs(cobra.MaximumNArgs(2)),
		ValidArgsFunction: completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.run(cmd.Context(), env, args)
		},
	}
	f.home.register(env, cmd)
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "", "only objects of this namespace")
	cmd.Flags().BoolP("all-namespaces", "A", true, "objects of all namespaces, unless -n is given")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "output format: json, yaml")
	return cmd
}

func (f *statusFlags) run(ctx context.Context, env *Env, args []string) error {
	switch f.output {
	case "", "json", "yaml":
	default:
		return usage("unknown output format %q: use json or yaml", f.output)
	}
	query := configapi.Query{Namespace: f.namespace}
	if len(args) > 0 {
		targets, err := parseTargets(args)
		if err != nil {
			return err
		}
		if len(targets) > 1 {
			return usage("name one kind, or none for all")
		}
		query.Kind, query.Name = targets[0].kind.ID(), targets[0].name
	}
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	client, err := h.Config(ctx)
	if err != nil {
		return h.Explain(env, err)
	}
	list, err := client.Status(ctx, query)
	if err != nil {
		return h.Explain(env, err)
	}
	reach, reachErr := spreadOf(ctx, h)
	if f.output != "" {
		return printDocument(env, struct {
			configapi.StatusList
			Reach *spread `json:"reach,omitempty"`
		}{list, known(reach, reachErr)}, f.output)
	}
	if err := printStatus(env, list); err != nil {
		return err
	}
	if reachErr != nil {
		fmt.Fprintf(env.Err, "how many proxies have it in force is not known: %v\n", reachErr)
		return nil
	}
	if len(list.Objects) > 0 {
		fmt.Fprintln(env.Out, reach)
	}
	return nil
}

// known is what was found out, or nothing after an error.
func known(s spread, err error) *spread {
	if err != nil {
		return nil
	}
	return &s
}

// printStatus prints one line for each object, and one for each field of it that
// has something to say.
func printStatus(env *Env, list configapi.StatusList) error {
	if len(list.Objects) == 0 {
		fmt.Fprintln(env.Err, "No resources found")
	} else {
		w := newTable(env.Out)
		w.row("KIND", "NAMESPACE", "NAME", "VERDICT", "FIELD", "MESSAGE")
		for _, o := range list.Objects {
			rows := o.Details
			if len(rows) == 0 {
				rows = []configapi.FieldStatus{{Code: o.Verdict}}
			}
			for _, d := range rows {
				message := d.Message
				if d.By != "" && !strings.Contains(message, d.By) {
					message = strings.TrimSpace(message + " (" + d.By + ")")
				}
				w.row(o.Kind, o.Namespace, o.Name, string(d.Code), d.Path, message)
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
	}
	for _, file := range list.Files {
		for _, e := range file.Errors {
			fmt.Fprintln(env.Err, "broken file, its last good content stays in force: "+e)
		}
	}
	return nil
}
