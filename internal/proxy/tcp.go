package proxy

import (
	"context"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/listener"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/relay"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/telemetry"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
)

func (p *Proxy) tcpServer(fc *config.FilterChain) (listener.Server, error) {
	logs, err := telemetry.NewAccessLogs(fc.TCP.AccessLogs, p.sinks)
	if err != nil {
		return nil, err
	}
	return func(t rawio.Transport, c *stream.Conn) listener.Conn {
		return &tcpConn{p: p, t: t, info: c, chain: fc, logs: logs, closing: make(chan stream.Reason, 1)}
	}, nil
}

// tcpConn is a connection that is relayed.
type tcpConn struct {
	p       *Proxy
	t       rawio.Transport
	info    *stream.Conn
	chain   *config.FilterChain
	logs    []*telemetry.AccessLog
	closing chan stream.Reason // one slot
	opened  *relay.Opened      // nil: Serve opens
	peer    atomic.Pointer[peermeta.Conn]
}

// Drain implements listener.Conn: opaque bytes have no end that could be waited
// for; what is open may stay until Close.
func (c *tcpConn) Drain() {}

// Close implements listener.Conn.
func (c *tcpConn) Close(why stream.Reason) {
	select {
	case c.closing <- why:
	default: // closing already
	}
}

// Open connects to the server before the client has spoken.
func (c *tcpConn) Open(ctx context.Context) (rawio.Transport, error) {
	o, err := c.p.relay.Open(ctx, c.info, c.chain.TCP)
	if err != nil {
		return nil, err
	}
	c.opened = o
	if err := c.exchange(o.Upstream()); err != nil {
		_ = o.Upstream().Close()
		return nil, err
	}
	return o.Upstream(), nil
}

// Resume has Serve relay between t and the server that Open connected to.
func (c *tcpConn) Resume(t rawio.Transport, first []byte) { c.t, c.opened.First = t, first }

// whoIs gives the peer's metadata, once it has told them.
func (c *tcpConn) whoIs() *peermeta.Peer {
	if x := c.peer.Load(); x != nil {
		return x.Peer()
	}
	return nil
}

// Serve implements listener.Conn.
func (c *tcpConn) Serve() stream.Reason {
	var count *telemetry.TCPFlow
	if c.chain.TCP.Stats != nil {
		count = c.p.metrics.OpenTCP(c.info, c.whoIs)
	}
	down := c.t
	if tls := c.info.TLS; c.chain.PeerExchange && tls != nil && tls.ALPN == peermeta.Protocol {
		x, err := c.p.exchange.Start(c.t)
		if err != nil {
			_ = c.t.Close()
			return stream.Reason{Code: stream.DownstreamGone, Detail: err.Error()}
		}
		c.peer.Store(x)
		down = x
	}
	var bytes relay.Counters
	if count != nil {
		count.Count(bytes.Bytes)
	}
	hooks := relay.Hooks{Opened: c.opened, Bytes: &bytes, Connected: func(_ rawio.Transport, up *upstream.TCPConn) error { return c.connected(up, count) }}
	f := c.p.relay.Serve(down, c.info, c.chain.TCP, hooks, c.closing)
	if count != nil {
		count.Closed(f.Cluster, f.BytesReceived, f.BytesSent, f.Reason)
	}
	writeConnLog(c.logs, c.info, &f.Upstream, &stream.Outcome{
		BytesReceived: f.BytesReceived, BytesSent: f.BytesSent, Duration: int64(f.Duration), Reason: f.Reason,
	})
	return f.Reason
}

// connected is called when the upstream is there.
func (c *tcpConn) connected(up *upstream.TCPConn, count *telemetry.TCPFlow) error {
	if c.opened == nil {
		if err := c.exchange(up); err != nil {
			return err
		}
	}
	if count != nil {
		count.Connected(up.Cluster.Name, up.Cluster, up.Endpoint, up.TLS)
	}
	return nil
}

// exchange exchanges metadata with an upstream that agreed to it.
func (c *tcpConn) exchange(up *upstream.TCPConn) error {
	if up.Cluster.PeerExchange && up.TLS != nil && up.TLS.ALPN == peermeta.Protocol {
		x, err := c.p.exchange.Start(up.Transport)
		if err != nil {
			return stream.Reason{Code: stream.UpstreamReset, Detail: err.Error()}
		}
		up.Transport = x
		if c.info.Dir != stream.Inbound {
			c.peer.Store(x)
		}
	}
	return nil
}
