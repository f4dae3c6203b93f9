package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/cli/dump"
	"github.com/lateen-mesh/lateen/internal/push"
)

// proxyStatusFlags are the flags of proxy-status.
type proxyStatusFlags struct {
	home              homeFlags
	namespace, output string
	verbose           int
	file              string
}

func newProxyStatusCommand(env *Env) *cobra.Command {
	var f proxyStatusFlags
	cmd := &cobra.Command{
		Use:     "proxy-status [NAME[.NAMESPACE] | KIND/NAME]",
		Aliases: []string{"proxystatus", "ps-proxy"},
		Short:   "Show how far each proxy is with its configuration",
		Long: `Show the proxies that are connected to the control plane, to all of its replicas,
and the types of configuration that each takes. With -v the state of each type:
SYNCED, STALE (sent and not answered yet), NOT SENT (it did not ask for any), or
NACK (it refused something; the reasons follow).

With a proxy: what the control plane says that it should have against what it has.`,
		Example: `  lateen proxy-status -v
  lateen proxy-status productpage-v1-6bb6cc5cfb-7hlkf.default
  lateen proxy-status deploy/productpage-v1 -n default`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), env, args) },
	}
	f.register(env, cmd)
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "with a proxy: a file with the proxy's configuration dump, instead of asking it")
	return cmd
}

func (f *proxyStatusFlags) register(env *Env, cmd *cobra.Command) {
	f.home.register(env, cmd)
	fl := cmd.Flags()
	fl.StringVarP(&f.output, "output", "o", "", "output format: json, yaml")
	fl.StringVarP(&f.namespace, "namespace", "n", "", "only proxies of this namespace")
	fl.CountVarP(&f.verbose, "verbosity", "v", "show the state of each type")
}

func (f *proxyStatusFlags) run(ctx context.Context, env *Env, args []string) error {
	if err := oneOf(f.output, "", "json", "yaml"); err != nil {
		return err
	}
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	if len(args) == 1 && f.output == "" {
		return h.Explain(env, f.compare(ctx, env, h, args[0]))
	}
	return h.Explain(env, f.list(ctx, env, h, args))
}

func (f *proxyStatusFlags) list(ctx context.Context, env *Env, h home, args []string) error {
	list, err := connectedProxies(ctx, h)
	if err != nil {
		return err
	}
	if len(args) == 1 {
		instance, err := h.Instance(ctx, args[0], f.namespace)
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(p connected) bool { return p.Name != instance })
	}
	if f.namespace != "" {
		list = slices.DeleteFunc(list, func(p connected) bool { return !strings.HasSuffix(p.Name, "."+f.namespace) })
	}
	if f.output != "" {
		return printDocument(env, list, f.output)
	}
	return printProxyStatus(env, list, f.verbose > 0)
}

// compare holds what the proxy should have against what it has.
func (f *proxyStatusFlags) compare(ctx context.Context, env *Env, h home, what string) error {
	instance, err := h.Instance(ctx, what, f.namespace)
	if err != nil {
		return err
	}
	_, p, err := findConnected(ctx, h, instance)
	if err != nil {
		return err
	}
	text, err := p.api.ConfigDump(ctx, instance)
	if err != nil {
		return err
	}
	want, err := dump.Parse(text)
	if err != nil {
		return fmt.Errorf("what the control plane says: %w", err)
	}
	if f.file != "" {
		if s, rerr := readText(env, f.file); rerr != nil {
			return rerr
		} else {
			text = []byte(s)
		}
	} else if text, err = h.Admin(ctx, instance, "GET", "config_dump"); err != nil {
		return err
	}
	have, err := dump.Parse(text)
	if err != nil {
		return fmt.Errorf("what the proxy says: %w", err)
	}
	return dump.WriteComparison(env.Out, dump.Compare(want, have))
}

// syncColumns are istioctl's types, in its order.
var syncColumns = []string{"cds", "lds", "eds", "rds", "ecds"}

// typeOrder lists the types of a proxy: istioctl's first, then the others by name.
func typeOrder(types map[string]push.TypeStatus) []string {
	var others []string
	for t := range types {
		if !slices.Contains(syncColumns, t) {
			others = append(others, t)
		}
	}
	slices.Sort(others)
	return slices.Concat(syncColumns, others)
}

// subscribed lists what a proxy asked for, as istioctl does: "4 (CDS,LDS,EDS,RDS)".
func subscribed(p connected) string {
	var names []string
	for _, t := range typeOrder(p.Types) {
		if s, ok := p.Types[t]; ok && s.State != push.NotSent {
			names = append(names, strings.ToUpper(t))
		}
	}
	return fmt.Sprintf("%d (%s)", len(names), strings.Join(names, ","))
}

func printProxyStatus(env *Env, list []connected, verbose bool) error {
	if len(list) == 0 {
		fmt.Fprintln(env.Err, "No proxies are connected to the control plane")
		return nil
	}
	w := newTable(env.Out)
	head := []string{"NAME", "CLUSTER", "ISTIOD", "VERSION", "SUBSCRIBED TYPES"}
	if verbose {
		head = []string{"NAME", "CLUSTER", "CDS", "LDS", "EDS", "RDS", "ECDS", "ISTIOD", "VERSION"}
	}
	w.row(head...)
	for _, p := range list {
		row := []string{p.Name, clusterName}
		if verbose {
			for _, t := range syncColumns {
				row = append(row, string(orNotSent(p.Types[t].State)))
			}
			row = append(row, p.Plane, orDash(p.Version))
		} else {
			row = append(row, p.Plane, orDash(p.Version), subscribed(p))
		}
		w.row(row...)
	}
	if err := w.flush(); err != nil {
		return err
	}
	for _, p := range list {
		for _, r := range p.Refusals {
			fmt.Fprintf(env.Err, "%s refuses %s\n", p.Name, r)
		}
	}
	return nil
}

func orNotSent(s push.SyncState) push.SyncState {
	if s == "" {
		return push.NotSent
	}
	return s
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// oneOf checks an output format.
func oneOf(format string, known ...string) error {
	if slices.Contains(known, format) {
		return nil
	}
	var named []string
	for _, k := range known {
		if k != "" {
			named = append(named, k)
		}
	}
	return usage("unknown output format %q: use %s", format, strings.Join(named, ", "))
}

// clusterName is the name of the one cluster that a mesh has.
const clusterName = "Kubernetes"
