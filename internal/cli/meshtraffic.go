package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"
)

// trafficFlags are those that stat, edges and top share.
type trafficFlags struct {
	home      homeFlags
	namespace string
	all       bool
	window    time.Duration
	output    string
}

func (f *trafficFlags) register(env *Env, cmd *cobra.Command) {
	f.home.register(env, cmd)
	fl := cmd.Flags()
	fl.StringVarP(&f.namespace, "namespace", "n", "", "only this namespace (default: all)")
	fl.BoolVarP(&f.all, "all-namespaces", "A", false, "all namespaces, as without -n")
	fl.DurationVarP(&f.window, "window", "w", time.Minute, "how far back to look")
	fl.StringVarP(&f.output, "output", "o", "", "output format: wide, json")
}

func (f *trafficFlags) query() url.Values {
	q := url.Values{"duration": {f.window.String()}}
	if f.namespace != "" && !f.all {
		q.Set("namespaces", f.namespace)
	}
	return q
}

// rates is traffic as the console's API tells it.
type rates struct {
	Rate, ErrorShare         float64
	P50, P95, P99            float64
	BytesSent, BytesReceived float64
	Connections              float64
	Codes, Flags             map[string]float64
}

// graphEdge is an edge of the console's graph.
type graphEdge struct {
	Source, Target, Protocol         string
	Rates                            rates
	MTLS                             *float64
	SourcePrincipal, TargetPrincipal string
	Services                         []string
}

// workloadLine and serviceLine are lines of the console's lists.
type workloadLine struct {
	Namespace, Name, Health string
	Gateway                 bool
	Instances, Ready        int
	Inbound, Outbound       *rates
}

type serviceLine struct {
	Namespace, Name, Host, Health string
	Endpoints, Ready              int
	Inbound                       *rates
}

// ask reads a page of the console's API from one of the control plane's replicas.
// Proxies report to the replica that they are connected to: with several, each
// knows a part, and the answers are merged by the caller.
func ask[T any](ctx context.Context, h home, path string, q url.Values) ([]T, error) {
	planes, err := h.Planes(ctx)
	if err != nil {
		return nil, err
	}
	var out []T
	for _, p := range planes {
		text, err := p.api.API(ctx, path+"?"+q.Encode())
		if err != nil {
			return nil, fmt.Errorf("asking %s: %w", p.name, err)
		}
		var v T
		if err := json.Unmarshal(text, &v); err != nil {
			return nil, fmt.Errorf("the answer of %s: %w", p.name, err)
		}
		out = append(out, v)
	}
	return out, nil
}

// Forms of numbers in tables.

func perSecond(v float64) string {
	if v == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1frps", v)
}

func percent(v float64) string { return fmt.Sprintf("%.2f%%", v*100) }

func millis(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v < 10:
		return fmt.Sprintf("%.1fms", v)
	case v < 10_000:
		return fmt.Sprintf("%.0fms", v)
	}
	return fmt.Sprintf("%.1fs", v/1000)
}

func byteRate(v float64) string {
	switch {
	case v == 0:
		return "-"
	case v < 1e3:
		return fmt.Sprintf("%.0fB/s", v)
	case v < 1e6:
		return fmt.Sprintf("%.1fkB/s", v/1e3)
	}
	return fmt.Sprintf("%.1fMB/s", v/1e6)
}

// cells are the columns of traffic: success, rate, latencies, TCP.
func (r *rates) cells() []string {
	if r == nil || r.Rate == 0 && r.BytesSent+r.BytesReceived+r.Connections == 0 {
		return []string{"-", "-", "-", "-", "-", "-"}
	}
	success := "-"
	if r.Rate > 0 {
		success = percent(1 - r.ErrorShare)
	}
	return []string{success, perSecond(r.Rate), millis(r.P50), millis(r.P95), millis(r.P99), byteRate(r.BytesSent + r.BytesReceived)}
}

var trafficTitles = []string{"SUCCESS", "RPS", "P50", "P95", "P99", "BYTES"}
