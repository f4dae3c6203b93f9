package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// statFlags are the flags of stat.
type statFlags struct {
	trafficFlags
	only string
}

func newStatCommand(env *Env) *cobra.Command {
	var f statFlags
	cmd := &cobra.Command{
		Use:   "stat [services | workloads | deploy/NAME | svc/NAME]",
		Short: "Show how much traffic services and workloads get, and how well it goes",
		Long: `Show for each service, or each workload, the share of successful requests, requests
per second, latencies and bytes, as the proxies counted them in the last minute.
Errors are HTTP 5xx and requests without an answer, and gRPC statuses other than 0.`,
		Example: `  lateen stat
  lateen stat services -n default -w 5m
  lateen stat deploy/reviews-v2`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.only = args[0]
			}
			return f.run(cmd.Context(), env)
		},
	}
	f.register(env, cmd)
	return cmd
}

func (f *statFlags) run(ctx context.Context, env *Env) error {
	if err := oneOf(f.output, "", "wide", "json"); err != nil {
		return err
	}
	kind, name, _ := strings.Cut(cmp.Or(f.only, "workloads"), "/")
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	switch kind {
	case "services", "service", "svc":
		return h.Explain(env, f.services(ctx, env, h, name))
	case "workloads", "workload", "deployments", "deployment", "deploy":
		return h.Explain(env, f.workloads(ctx, env, h, name))
	}
	return usage("%q is neither services nor workloads, svc/NAME nor deploy/NAME", f.only)
}

func (f *statFlags) workloads(ctx context.Context, env *Env, h home, name string) error {
	parts, err := ask[[]workloadLine](ctx, h, "/api/workloads", f.query())
	if err != nil {
		return err
	}
	list := mergeLines(parts, func(w workloadLine) string { return w.Namespace + "/" + w.Name }, func(a, b workloadLine) workloadLine {
		a.Inbound, a.Outbound = busier(a.Inbound, b.Inbound), busier(a.Outbound, b.Outbound)
		return a
	})
	if name != "" {
		list = slices.DeleteFunc(list, func(w workloadLine) bool { return w.Name != name })
	}
	if f.output == "json" {
		return printDocument(env, list, "json")
	}
	return printWorkloads(env.Out, list)
}

func printWorkloads(out io.Writer, list []workloadLine) error {
	t := newTable(out)
	t.row(append([]string{"NAMESPACE", "WORKLOAD", "READY"}, trafficTitles...)...)
	for _, w := range list {
		r := w.Inbound
		if w.Gateway {
			r = w.Outbound // nobody counts before a gateway but itself
		}
		t.row(append([]string{w.Namespace, w.Name, fmt.Sprintf("%d/%d", w.Ready, w.Instances)}, r.cells()...)...)
	}
	return t.flush()
}

func (f *statFlags) services(ctx context.Context, env *Env, h home, name string) error {
	parts, err := ask[[]serviceLine](ctx, h, "/api/services", f.query())
	if err != nil {
		return err
	}
	list := mergeLines(parts, func(s serviceLine) string { return s.Namespace + "/" + s.Name }, func(a, b serviceLine) serviceLine {
		a.Inbound = busier(a.Inbound, b.Inbound)
		return a
	})
	if name != "" {
		list = slices.DeleteFunc(list, func(s serviceLine) bool { return s.Name != name })
	}
	if f.output == "json" {
		return printDocument(env, list, "json")
	}
	t := newTable(env.Out)
	t.row(append([]string{"NAMESPACE", "SERVICE", "READY"}, trafficTitles...)...)
	for _, s := range list {
		t.row(append([]string{s.Namespace, s.Name, fmt.Sprintf("%d/%d", s.Ready, s.Endpoints)}, s.Inbound.cells()...)...)
	}
	return t.flush()
}

// mergeLines joins what replicas say of the same thing.
func mergeLines[T any](parts [][]T, key func(T) string, merge func(a, b T) T) []T {
	byKey := map[string]T{}
	for _, part := range parts {
		for _, x := range part {
			if known, ok := byKey[key(x)]; ok {
				x = merge(known, x)
			}
			byKey[key(x)] = x
		}
	}
	var out []T
	for _, k := range slices.Sorted(maps.Keys(byKey)) {
		out = append(out, byKey[k])
	}
	return out
}

// busier adds up what two replicas counted. Latencies cannot be added: those of the
// busier one are shown.
func busier(a, b *rates) *rates {
	if a == nil || b == nil {
		if a == nil {
			return b
		}
		return a
	}
	if b.Rate > a.Rate {
		a, b = b, a
	}
	sum := *a
	if sum.Rate = a.Rate + b.Rate; sum.Rate > 0 {
		sum.ErrorShare = (a.ErrorShare*a.Rate + b.ErrorShare*b.Rate) / sum.Rate
	}
	sum.BytesSent, sum.BytesReceived, sum.Connections = a.BytesSent+b.BytesSent, a.BytesReceived+b.BytesReceived, a.Connections+b.Connections
	return &sum
}
