package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/bench/load"
	"github.com/lateen-mesh/lateen/bench/mesh"
	"github.com/lateen-mesh/lateen/bench/origin"
	"github.com/lateen-mesh/lateen/bench/peer"
	"github.com/lateen-mesh/lateen/bench/tool"
)

// loader drives a proxy for m.length, calls m.begin and m.end around it, and
// returns what it saw; "requests" or "gib" are what CPU is divided by.
type loader func(ctx context.Context, l *lab, r *peer.Running, m *meter) (figures, error)

func microseconds(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

// fromTool runs one of the field's generators.
func fromTool(m *meter, run func() (tool.Result, error)) (figures, error) {
	if err := m.begin(); err != nil {
		return nil, err
	}
	t, err := run()
	if err != nil {
		return nil, err
	}
	f := figures{"requests": t.Requests, rps: t.RPS, p50: microseconds(t.P50)}
	if t.P99 > 0 {
		f[p99] = microseconds(t.P99)
	}
	return f, m.end()
}

// saturate sends HTTP/1.1 requests over some connections as fast as they are
// answered.
func saturate(connections int, path string) loader {
	return func(ctx context.Context, _ *lab, r *peer.Running, m *meter) (figures, error) {
		return fromTool(m, func() (tool.Result, error) {
			return tool.Wrk(ctx, "http://"+r.Entry.String()+path, connections, m.length, requestHeaders)
		})
	}
}

// saturateLarge asks for 1 MiB at a time.
func saturateLarge(ctx context.Context, l *lab, r *peer.Running, m *meter) (figures, error) {
	f, err := saturate(16, "/1m")(ctx, l, r, m)
	if err != nil {
		return nil, err
	}
	f["gib"] = f["requests"] * origin.LargeBody / (1 << 30)
	f[gibPerSecond] = f[rps] * origin.LargeBody / (1 << 30)
	delete(f, "requests")
	return f, nil
}

// saturateHTTP2 sends HTTP/2 or gRPC requests, 16 at a time on each of four
// connections.
func saturateHTTP2(path string) loader {
	return func(ctx context.Context, l *lab, r *peer.Running, m *meter) (figures, error) {
		h := tool.H2Load{URL: "http://" + r.Entry.String() + path, Connections: 4, Streams: 16, Length: m.length, Headers: http2Headers(), Log: filepath.Join(l.dir, "h2load.log")}
		if r.Plan.Protocol == mesh.GRPC {
			h.URL = "http://" + r.Entry.String() + "/bench.Reviews" + path
			h.Headers = append(h.Headers, "content-type: application/grpc", "te: trailers")
			h.Data = filepath.Join(l.dir, "message")
			if err := os.WriteFile(h.Data, grpcMessage(), 0o600); err != nil {
				return nil, err
			}
		}
		return fromTool(m, func() (tool.Result, error) { return h.Run(ctx) })
	}
}

// grpcMessage is a message of 100 bytes with its prefix.
func grpcMessage() []byte { return append([]byte{0, 0, 0, 0, 100}, make([]byte, 100)...) }

// generate runs an own generator.
func generate(ctx context.Context, l *lab, m *meter, s load.Spec) (_ load.Result, err error) {
	s.Length = m.length
	g, err := load.Start(ctx, l.site.Self, l.loadCores, s)
	if err != nil {
		return load.Result{}, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err := m.begin(); err != nil {
		return load.Result{}, err
	}
	r, err := g.Run()
	if err != nil {
		return r, err
	}
	return r, m.end()
}

// paced sends HTTP/1.1 requests at a fixed rate.
func paced(connections, idle, rate int) loader {
	return func(ctx context.Context, l *lab, r *peer.Running, m *meter) (figures, error) {
		idle := idle
		if m.warm {
			idle = 0
		}
		got, err := generate(ctx, l, m, load.Spec{
			Kind: "open", Addr: r.Entry, Connections: connections, Idle: idle, Rate: rate, Request: requestText("/api/v1/reviews"),
		})
		if err != nil {
			return nil, err
		}
		return figures{
			"requests": float64(got.Requests), rps: float64(got.Requests) / m.length.Seconds(), p50: microseconds(got.P50), p99: microseconds(got.P99), p999: microseconds(got.P999),
		}, nil
	}
}

// bulk takes bytes over some TCP connections.
func bulk(connections int) loader {
	return func(ctx context.Context, l *lab, r *peer.Running, m *meter) (figures, error) {
		got, err := generate(ctx, l, m, load.Spec{Kind: "drain", Addr: r.Entry, Connections: connections})
		if err != nil {
			return nil, err
		}
		gib := float64(got.Bytes) / (1 << 30)
		return figures{"gib": gib, gibPerSecond: gib / got.Elapsed.Seconds()}, nil
	}
}

// connect makes new mTLS connections, for a while with full handshakes, then for
// as long with resumed ones.
func connect(ctx context.Context, l *lab, r *peer.Running, m *meter) (figures, error) {
	f := figures{}
	for _, kind := range []struct {
		figure string
		resume bool
	}{{cpuFull, false}, {cpuResumed, true}} {
		s, err := l.clientSpec(kind.resume)
		if err != nil {
			return nil, err
		}
		s.Kind, s.Addr = "handshake", r.Secure
		got, err := generate(ctx, l, m, s)
		if err != nil {
			return nil, fmt.Errorf("handshakes (resumed: %v): %w", kind.resume, err)
		}
		f[kind.figure] = microseconds(m.after.proxy-m.before.proxy) / float64(got.Requests)
		if !kind.resume {
			f[rps], f[p50], f[p99] = float64(got.Requests)/got.Elapsed.Seconds(), microseconds(got.P50), microseconds(got.P99)
		}
	}
	f[cpuPerRequest] = f[cpuFull]
	return f, nil
}

// addLogCost compares with the rows that were measured without a log.
func addLogCost(_ context.Context, _ *lab, _ *benchCase, _ []*peer.Running, rows []row) error {
	for _, bare := range rows {
		for i := range rows {
			if rows[i].Proxy+noLog == bare.Proxy {
				rows[i].Median[logCost] = 100 * (rows[i].Median[cpuPerRequest]/bare.Median[cpuPerRequest] - 1)
			}
		}
	}
	return nil
}

// spotCheck lets fortio measure lateen and Envoy once at the case's rate, as a
// second opinion on latency.
func spotCheck(ctx context.Context, l *lab, c *benchCase, fleet []*peer.Running, rows []row) error {
	program, err := peer.Find(cached("fortio"))
	if err != nil {
		l.note("%s: no second opinion by fortio: %v (scripts/bench-setup.sh installs it)", c.name, err)
		return nil
	}
	for i, r := range fleet {
		if r.Kind != peer.Lateen && r.Kind != peer.Envoy {
			continue
		}
		t, err := tool.Fortio(ctx, program, "http://"+r.Entry.String()+"/api/v1/reviews", 8, 1000, 2*time.Second, requestHeaders)
		if err != nil {
			return err
		}
		rows[i].Median["fortio_p50_us"], rows[i].Median["fortio_p99_us"] = microseconds(t.P50), microseconds(t.P99)
		l.progress("%s fortio %s: p50 %v, p99 %v", c.name, r.Kind, t.P50, t.P99)
	}
	return nil
}

// hold opens idle connections, with TLS if s has any, each after one request.
func hold(addr netip.AddrPort, n int, s *load.Spec, request string) (closeAll func(), err error) {
	var closers []func() error
	closeAll = func() {
		for _, c := range closers {
			_ = c() // nothing is under way
		}
	}
	for range n {
		c, err := func() (func() error, error) {
			if s == nil {
				c, err := load.Hold(addr.String(), nil, request)
				if err != nil {
					return nil, err
				}
				return c.Close, nil
			}
			t, err := s.ClientTLS()
			if err != nil {
				return nil, err
			}
			c, err := load.Hold(addr.String(), t, request)
			if err != nil {
				return nil, err
			}
			return c.Close, nil
		}()
		if err != nil {
			closeAll()
			return nil, err
		}
		closers = append(closers, c)
	}
	return closeAll, nil
}
