package main

import (
	"context"
	"slices"

	"github.com/lateen-mesh/lateen/bench/mesh"
	"github.com/lateen-mesh/lateen/bench/peer"
)

// Names of figures that several places use; they are the keys of the JSON output.
const (
	cpuPerRequest = "cpu_us_per_request"
	cpuPerGiB     = "cpu_s_per_gib"
	rps           = "rps"
	p50, p99      = "p50_us", "p99_us"
	p999          = "p999_us"
	addedP50      = "added_p50_us"
	rss, anon     = "rss_mb", "anon_mb"
	logCost       = "log_cost_percent"
	cpuFull       = "cpu_us_full"
	cpuResumed    = "cpu_us_resumed"
	gibPerSecond  = "gib_per_s"
	nsPerOp       = "ns_per_op"
	allocsPerOp   = "allocs_per_op"
	noLog         = " (no log)" // in the label of a proxy
)

// figures are what one measurement found.
type figures map[string]float64

// target is a ratio to Envoy that lateen must reach in a figure.
type target struct {
	figure   string
	limit    float64
	absolute bool // a limit of the figure itself
}

// benchCase is one line of the table.
type benchCase struct {
	name, about string
	plan        peer.Plan
	// main is the figure whose ratio is ratio_to_envoy.
	main    string
	targets []target
	seconds int
	kinds   []string // nil: all
	// load drives a proxy and returns what it saw; "requests" or "gib" are divided
	// by for the CPU figures.
	load loader
	// baseline is a second plan that lateen and Envoy are measured with too, for
	// what the case's own plan costs more.
	baseline *peer.Plan
	// after may add to the rows while the proxies still run.
	after func(ctx context.Context, l *lab, c *benchCase, fleet []*peer.Running, rows []row) error
	// own does all of the case's work by itself, where it is not one load.
	own func(ctx context.Context, l *lab, c *benchCase) ([]row, error)
}

var proxiesOnly = []string{peer.Lateen, peer.Envoy, peer.HAProxy, peer.Nginx, peer.Go}

func hop(p mesh.Protocol) peer.Plan    { return peer.Plan{Shape: peer.Hop, Protocol: p} }
func two(p mesh.Protocol) peer.Plan    { return peer.Plan{Shape: peer.Mesh, Protocol: p} }
func logged(p peer.Plan) peer.Plan     { p.Log = true; return p }
func onTwoCores(p peer.Plan) peer.Plan { p.Concurrency = 2; return p }

// catalog is all cases, in the order of the table.
func catalog() []*benchCase {
	cpu := func(limit float64, more ...target) []target {
		return append([]target{{figure: cpuPerRequest, limit: limit}}, more...)
	}
	gib := func(limit float64) []target { return []target{{figure: cpuPerGiB, limit: limit}} }
	const path = "/api/v1/reviews"
	plain := two(mesh.HTTP1)
	return []*benchCase{
		{name: "h1-hop", about: "one hop, HTTP/1.1, 64 connections, saturated", plan: hop(mesh.HTTP1), main: cpuPerRequest,
			targets: cpu(0.45), seconds: 3, load: saturate(64, path)},
		{name: "h1-hop-2", about: "the same with two cores for the proxy, which it shares with the load", plan: onTwoCores(hop(mesh.HTTP1)), main: cpuPerRequest,
			targets: cpu(0.45), seconds: 3, load: saturate(64, path)},
		{name: "h1-hop-5k", about: "one hop, HTTP/1.1, 5,000 requests/s over 64 connections, open loop", plan: hop(mesh.HTTP1), main: cpuPerRequest,
			targets: cpu(0.45, target{figure: p99, limit: 1}), seconds: 3, load: paced(64, 0, 5000)},
		{name: "h1-mesh", about: "two proxies with mTLS between them, HTTP/1.1, 64 connections, saturated; both proxies together", plan: plain, main: cpuPerRequest,
			targets: cpu(0.45), seconds: 3, load: saturate(64, path)},
		{name: "h1-mesh-log", about: "the same with an access log on both sides", plan: logged(plain), baseline: &plain, main: cpuPerRequest,
			targets: cpu(0.45, target{figure: logCost, limit: 5, absolute: true}), seconds: 3, load: saturate(64, path), kinds: proxiesOnly, after: addLogCost},
		{name: "h1-mesh-1k", about: "two proxies with mTLS between them, HTTP/1.1, 1,000 requests/s over 64 connections, open loop", plan: plain, main: cpuPerRequest,
			targets: cpu(0.45, target{figure: addedP50, limit: 0.4}, target{figure: p99, limit: 1}), seconds: 4, load: paced(64, 0, 1000), after: spotCheck},
		{name: "h2-hop", about: "one hop, HTTP/2 on both sides, 4 connections with 16 streams each, saturated", plan: hop(mesh.HTTP2), main: cpuPerRequest,
			targets: cpu(0.6), seconds: 3, load: saturateHTTP2(path)},
		{name: "h2-hop-2", about: "the same with two cores for the proxy, which it shares with the load", plan: onTwoCores(hop(mesh.HTTP2)), main: cpuPerRequest,
			targets: cpu(0.6), seconds: 3, load: saturateHTTP2(path)},
		{name: "h2-mesh", about: "gRPC's calls (POST, trailers) through two proxies with mTLS between them, 4 connections with 16 streams each, saturated; both together",
			plan: two(mesh.GRPC), main: cpuPerRequest, targets: cpu(0.45), seconds: 3, load: saturateHTTP2(path)},
		{name: "mesh-1m", about: "bodies of 1 MiB to the client through two proxies with mTLS between them, 16 connections; both together", plan: plain, main: cpuPerGiB,
			targets: gib(0.9), seconds: 3, load: saturateLarge},
		{name: "tcp", about: "bytes to the client through a TCP proxy, 4 connections", plan: hop(mesh.TCP), main: cpuPerGiB, targets: gib(0.8), seconds: 3, load: bulk(4)},
		{name: "tcp-mesh", about: "bytes to the client through two TCP proxies with mTLS between them, 4 connections; both together", plan: two(mesh.TCP), main: cpuPerGiB,
			targets: gib(0.9), seconds: 3, load: bulk(4)},
		{name: "handshake", about: "new mTLS connections, TLS 1.3, X25519 and ECDSA P-256, each with one request that the proxy answers: full and resumed",
			plan: peer.Plan{Shape: peer.Secure, Protocol: mesh.HTTP1}, main: cpuFull, kinds: proxiesOnly, seconds: 2, load: connect,
			targets: []target{{figure: cpuFull, limit: 1.1}, {figure: cpuResumed, limit: 1.1}}},
		{name: "memory", about: "resident memory: idle; with 1,000 idle connections, plain and mTLS; at the end of a saturating load", main: "idle_mb", kinds: proxiesOnly,
			plan: peer.Plan{Shape: peer.Secure, Clear: true, Protocol: mesh.HTTP1}, own: measureMemory,
			targets: []target{{figure: "idle_mb", limit: 0.45}, {figure: "plain_1000_mb", limit: 0.5}, {figure: "mtls_1000_mb", limit: 0.8}, {figure: "loaded_mb", limit: 0.5}}},
		{name: "c10k", about: "one hop, HTTP/1.1, 10,000 connections of which 1,000 carry 2,000 requests/s, open loop", plan: hop(mesh.HTTP1), main: cpuPerRequest,
			targets: cpu(0.6, target{figure: rss, limit: 0.5}, target{figure: p99, limit: 1}), seconds: 8, load: paced(1000, 9000, 2000), kinds: proxiesOnly},
		{name: "routes", about: "virtual host and route among 1,000 × 50 (Go benchmark)", main: nsPerOp, own: measureRoutes,
			targets: []target{{figure: nsPerOp, limit: 1000, absolute: true}, {figure: allocsPerOp, absolute: true}}},
	}
}

func names() []string {
	var out []string
	for _, c := range catalog() {
		out = append(out, c.name)
	}
	return out
}

func find(name string) *benchCase {
	all := catalog()
	return all[slices.IndexFunc(all, func(c *benchCase) bool { return c.name == name })]
}
