package proxy

import (
	"context"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/report"
	"github.com/lateen-mesh/lateen/internal/proxy/tap"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// newReporter makes what tells the control plane of the proxy's traffic. It reads the
// standard metrics alone: those of the runtime cost more, and are nobody's there.
func (p *Proxy) newReporter() error {
	standard := prometheus.NewRegistry()
	for _, c := range p.metrics.Collectors() {
		if err := standard.Register(c); err != nil {
			return err
		}
	}
	name := p.opts.Node.GetId()
	if part := strings.Split(name, "~"); len(part) == 4 {
		name = part[2]
	}
	p.tap = tap.New(name, peermeta.FromNode(p.opts.Node), peerSlot)
	p.reporter = report.New(report.Options{
		Hello: wire.Hello{Proxy: name, Version: p.opts.Version}, Metrics: standard, Tap: p.tap, Log: ops.Scope(p.opts.Log, "report"),
	})
	return nil
}

// Observe tells the control plane at the other end of a connection what the proxy has
// seen, until ctx ends: it is for client.Client's Beside.
func (p *Proxy) Observe(ctx context.Context, conn grpc.ClientConnInterface) {
	p.reporter.Run(ctx, conn)
}
