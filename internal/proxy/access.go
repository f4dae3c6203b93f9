package proxy

import (
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/rbac"
	"github.com/lateen-mesh/lateen/internal/proxy/listener"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/telemetry"
)

// guarded puts a chain's network access filters before its server.
func (p *Proxy) guarded(fc *config.FilterChain, serve listener.Server) (listener.Server, error) {
	filters := rbac.NewNetwork(fc.Access, p.access)
	if len(filters) == 0 {
		return serve, nil
	}
	cfg := []config.AccessLog{}
	if fc.TCP != nil {
		cfg = fc.TCP.AccessLogs
	}
	logs, err := telemetry.NewAccessLogs(cfg, p.sinks)
	if err != nil {
		return nil, err
	}
	return func(t rawio.Transport, c *stream.Conn) listener.Conn {
		if why, ok := filters.Check(c); !ok {
			return &denied{p: p, t: t, info: c, chain: fc, logs: logs, why: why}
		}
		return serve(t, c)
	}, nil
}

// denied is a connection that access filters keep out: it is closed unread, and
// reported like others.
type denied struct {
	p     *Proxy
	t     rawio.Transport
	info  *stream.Conn
	chain *config.FilterChain
	logs  []*telemetry.AccessLog
	why   stream.Reason
}

// Serve implements listener.Conn.
func (d *denied) Serve() stream.Reason {
	_ = d.t.Close() // nothing is owed to the client
	if d.chain.TCP != nil && d.chain.TCP.Stats != nil {
		d.p.metrics.OpenTCP(d.info, func() *peermeta.Peer { return nil }).Closed("", 0, 0, d.why)
	}
	writeConnLog(d.logs, d.info, &stream.Upstream{}, &stream.Outcome{Reason: d.why, Duration: int64(time.Since(d.info.Start))})
	return d.why
}

// Drain implements listener.Conn.
func (d *denied) Drain() {}

// Close implements listener.Conn.
func (d *denied) Close(stream.Reason) {}
