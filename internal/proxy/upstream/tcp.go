package upstream

import (
	"context"
	"sync"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// TCPConn is an upstream connection of a relay. Close gives its place back.
type TCPConn struct {
	rawio.Transport
	// Cluster, Endpoint and TLS do not change. TLS is nil for plain text; its ALPN
	// tells whether the peer agreed to exchange metadata.
	Cluster  *config.Cluster
	Endpoint *config.Endpoint
	TLS      *stream.TLS

	handle  *Handle
	host    *host
	release sync.Once
}

// DialTCP chooses an endpoint for a downstream connection, checks the breakers and
// opens a connection of its own. An error is a stream.Reason. up, if it is not nil,
// tells which endpoint was chosen, also where the connection fails.
func (h *Handle) DialTCP(ctx context.Context, c *stream.Conn, t *Tried, up *stream.Upstream) (*TCPConn, error) {
	if up == nil {
		up = new(stream.Upstream)
	}
	up.Cluster = h.name
	v := h.view.Load()
	if v == nil {
		return nil, h.missing().Reason
	}
	up.ClusterNode = v.cfg
	tg, err := h.chooseTCP(v, c, t)
	if err != nil {
		return nil, err
	}
	up.Endpoint, up.Host = tg.endpoint, tg.endpoint.Addr
	start := h.m.o.Now()
	if err := h.enterTCP(v, tg.host); err != nil {
		return nil, err
	}
	tr, facts, err := h.connect(ctx, v, tg, &wish{}, c)
	if err != nil {
		h.countFailure(tg.host, err)
		h.leaveTCP(tg.host)
		return nil, tcpReason(up, err)
	}
	up.TLS, up.Local, up.ConnectTime = facts, tr.LocalAddr(), h.m.o.Now().Sub(start)
	h.stats.CxTotal.Add(1)
	tg.host.stats.CxTotal.Add(1)
	// A connection that stands is a success of local origin.
	tg.host.out.local.Store(0)
	return &TCPConn{Transport: tr, Cluster: v.cfg, Endpoint: tg.endpoint, TLS: facts, handle: h, host: tg.host}, nil
}

func (h *Handle) chooseTCP(v *view, c *stream.Conn, t *Tried) (*target, error) {
	var tg *target
	if v.cfg.Type == config.ClusterOriginalDst {
		var err error
		if tg, err = h.original(v, c, nil); err != nil {
			return nil, asReason(err)
		}
		return tg, nil
	}
	if tg = h.pick(v, t); tg == nil {
		return nil, h.none().Reason
	}
	t.hosts = append(t.hosts, tg.endpoint)
	return tg, nil
}

// enterTCP counts a connection if the breaker allows it.
func (h *Handle) enterTCP(v *view, x *host) error {
	lim := v.cfg.Breakers[0].MaxConnections
	h.mu.Lock()
	defer h.mu.Unlock()
	u := &h.usage[0]
	if u.conns >= lim {
		h.stats.CxOverflow.Add(1)
		r := stream.Reason{Code: stream.UpstreamOverflow, Detail: "max_connections reached in cluster " + h.name}
		return r
	}
	u.conns++
	x.active.Add(1)
	h.stats.CxActive.Add(1)
	x.stats.CxActive.Add(1)
	return nil
}

func (h *Handle) leaveTCP(x *host) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.usage[0].conns--
	x.active.Add(^uint32(0))
	h.stats.CxActive.Add(-1)
	x.stats.CxActive.Add(-1)
	h.settleHost(x)
	h.grant()
}

// Unwrap gives the transport below, for splice and the hang-up watch.
func (c *TCPConn) Unwrap() rawio.Transport { return c.Transport }

// Close closes the connection and gives its place back. It may be called again.
func (c *TCPConn) Close() error {
	err := c.Transport.Close()
	c.release.Do(func() {
		c.handle.stats.CxDestroy.Add(1)
		c.handle.leaveTCP(c.host)
	})
	return err
}

// CountBytes adds to the cluster's byte counters.
func (c *TCPConn) CountBytes(received, sent int64) {
	c.handle.stats.CxRxBytes.Add(uint64(received))
	c.handle.stats.CxTxBytes.Add(uint64(sent))
}

// Removed reports whether the endpoint has left the cluster since.
func (c *TCPConn) Removed() bool {
	c.handle.mu.Lock()
	defer c.handle.mu.Unlock()
	return c.host.removed
}

func tcpReason(up *stream.Upstream, err error) error {
	ce, ok := err.(*connectError)
	if !ok {
		return asReason(err)
	}
	up.FailureError = ce.Error()
	return stream.Reason{Code: ce.code, Detail: ce.Error()}
}

// asReason makes a stream.Reason of an error of this package or of a cancelled
// context.
func asReason(err error) stream.Reason {
	switch e := err.(type) {
	case stream.Reason:
		return e
	case *stream.Reply:
		return e.Reason
	}
	return stream.Reason{Code: stream.Internal, Detail: err.Error()}
}
