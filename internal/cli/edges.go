package cli

import (
	"cmp"
	"context"
	"net/url"
	"strings"

	"github.com/spf13/cobra"
)

// edgesFlags are the flags of edges.
type edgesFlags struct{ trafficFlags }

func newEdgesCommand(env *Env) *cobra.Command {
	var f edgesFlags
	cmd := &cobra.Command{
		Use:   "edges",
		Short: "Show who talks to whom, with which identity",
		Long: `Show which workloads called which in the last minute, how the calls were secured,
how many there were and how well they went. With -o wide also the identities that
both ends proved.`,
		Example: `  lateen edges
  lateen edges -n default -o wide`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	f.register(env, cmd)
	return cmd
}

// graphPart is the console's graph.
type graphPart struct{ Edges []graphEdge }

func (f *edgesFlags) run(ctx context.Context, env *Env) error {
	if err := oneOf(f.output, "", "wide", "json"); err != nil {
		return err
	}
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	list, err := edgesOf(ctx, h, f.query())
	if err != nil {
		return h.Explain(env, err)
	}
	if f.output == "json" {
		return printDocument(env, list, "json")
	}
	t := newTable(env.Out)
	titles := append([]string{"SOURCE", "TARGET", "PROTOCOL", "SECURED"}, trafficTitles...)
	if f.output == "wide" {
		titles = append(titles, "CLIENT", "SERVER")
	}
	t.row(titles...)
	for _, e := range list {
		cells := append([]string{shortNode(e.Source), shortNode(e.Target), e.Protocol, secured(e.MTLS)}, e.Rates.cells()...)
		if f.output == "wide" {
			cells = append(cells, cmp.Or(e.SourcePrincipal, "-"), cmp.Or(e.TargetPrincipal, "-"))
		}
		t.row(cells...)
	}
	return t.flush()
}

// edgesOf asks for the workload graph.
func edgesOf(ctx context.Context, h home, q url.Values) ([]graphEdge, error) {
	q.Set("view", "workload")
	parts, err := ask[graphPart](ctx, h, "/api/graph", q)
	if err != nil {
		return nil, err
	}
	var lists [][]graphEdge
	for _, p := range parts {
		lists = append(lists, p.Edges)
	}
	return mergeLines(lists, func(e graphEdge) string { return e.Source + ">" + e.Target + "/" + e.Protocol }, func(a, b graphEdge) graphEdge {
		// The client's proxy may report to one replica and the server's to another: both
		// count the same calls.
		if b.Rates.Rate > a.Rates.Rate {
			a.Rates = b.Rates
		}
		if a.MTLS == nil {
			a.MTLS, a.SourcePrincipal, a.TargetPrincipal = b.MTLS, b.SourcePrincipal, b.TargetPrincipal
		}
		return a
	}), nil
}

// shortNode gives a node's id for people: "reviews-v1.default".
func shortNode(id string) string {
	part := strings.Split(id, "/")
	switch {
	case len(part) == 3 && part[0] == "service":
		return "svc/" + part[2] + "." + part[1]
	case len(part) == 3:
		return part[2] + "." + part[1]
	case len(part) == 2:
		return part[1]
	}
	return id
}

func secured(share *float64) string {
	switch {
	case share == nil:
		return "unknown"
	case *share == 1:
		return "mTLS"
	case *share == 0:
		return "plaintext"
	}
	return percent(*share) + " mTLS"
}
