package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// connectDefault is Envoy's default connect_timeout.
const connectDefault = 5 * time.Second

// errConnectTimeout is the cause of a context whose connect_timeout passed.
var errConnectTimeout = errors.New("connect time-out")

// connectError says why there is no connection.
type connectError struct {
	code stream.Code // ConnectFailure, ConnectTimeout, UpstreamTLS
	err  error
}

// Error implements error.
func (e *connectError) Error() string { return e.err.Error() }

// Unwrap implements errors.
func (e *connectError) Unwrap() error { return e.err }

// connect makes a connection to the target: socket, then TLS where its link asks
// for it, both within the cluster's connect time-out. An error is a *connectError,
// or the cause with which ctx was cancelled.
func (h *Handle) connect(ctx context.Context, v *view, tg *target, want wish, http bool) (rawio.Transport, *stream.TLS, error) {
	limit := v.cfg.ConnectTimeout
	if limit <= 0 {
		limit = connectDefault
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, errConnectTimeout)
	defer cancel()
	t, err := h.m.dial(ctx, Dialing{
		Remote: tg.endpoint.Addr, Local: sourceFor(v.cfg.SourceAddr, tg.endpoint.Addr.Addr()), KeepAlive: v.cfg.KeepAlive})
	if err != nil {
		return nil, nil, connectFailure(ctx, stream.ConnectFailure, err, limit)
	}
	if tg.link.tls == nil {
		return t, nil, nil
	}
	c, err := h.secure(ctx, tg, t, want, http)
	if err != nil {
		h.stats.SSLFail.Add(1)
		// The handshake's error counts; closing a broken socket can add nothing.
		_ = t.Close()
		return nil, nil, connectFailure(ctx, stream.UpstreamTLS, fmt.Errorf("tls to %s: %w", tg.endpoint.Addr, err), limit)
	}
	facts := tg.link.tls.Facts(c.ConnectionState())
	h.stats.SSLHandshake.Add(1)
	if facts.Resumed {
		h.stats.SSLResumed.Add(1)
	}
	return c, facts, nil
}

func (h *Handle) secure(ctx context.Context, tg *target, t rawio.Transport, want wish, http bool) (*rawio.TLSConn, error) {
	cfg, err := tg.link.tls.Config(tlsctx.Dial{Endpoint: tg.endpoint.Addr, ServerName: want.sni, ALPN: want.alpn, HTTP: http})
	if err != nil {
		return nil, err
	}
	c := rawio.ClientTLS(t, cfg)
	if err := c.Handshake(ctx); err != nil {
		return nil, err
	}
	return c, nil
}

// connectFailure tells a time-out and a cancelled try from a failure.
func connectFailure(ctx context.Context, code stream.Code, err error, limit time.Duration) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errConnectTimeout):
		return &connectError{stream.ConnectTimeout, fmt.Errorf("%w (within %v)", err, limit)}
	case cause != nil:
		return cause
	}
	return &connectError{code, err}
}

// sourceFor leaves out a source address of the other family.
func sourceFor(src, dst netip.Addr) netip.Addr {
	if src.IsValid() && src.Is4() == dst.Unmap().Is4() {
		return src
	}
	return netip.Addr{}
}

// dial makes a socket's connection.
func (m *Manager) dial(ctx context.Context, d Dialing) (rawio.Transport, error) {
	if m.o.Dial != nil {
		return m.o.Dial(ctx, d)
	}
	var o rawio.DialOptions
	if k := d.KeepAlive; k != nil {
		o.KeepAlive = &rawio.KeepAlive{
			Probes: k.Probes, Time: time.Duration(k.Time) * time.Second, Interval: time.Duration(k.Interval) * time.Second}
	}
	c, err := rawio.Dial(ctx, m.o.Sockets, d.Local, d.Remote, o)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// open makes a pooled connection whose place is counted already (usage.conns,
// host.dialing), and gives the place back if that fails.
func (h *Handle) open(ctx context.Context, v *view, tg *target, want wish, priority uint8) (*conn, error) {
	start := h.m.o.Now()
	t, facts, err := h.connect(ctx, v, tg, want, true)
	x := tg.host
	if err != nil {
		h.countFailure(x, err)
		h.mu.Lock()
		h.usage[priority].conns--
		x.dialing--
		h.settle(x)
		h.grant()
		h.mu.Unlock()
		return nil, err
	}
	c := &conn{host: x, link: tg.link, wish: want, priority: priority, tls: facts, local: t.LocalAddr()}
	c.took = h.m.o.Now().Sub(start)
	if v.cfg.MaxConnDuration > 0 {
		c.born = start
	}
	c.idleTimer.Init(h.m.o.Timer, func() { h.expire(c) })
	h.mu.Lock()
	x.dialing--
	x.conns[c] = struct{}{}
	closed := h.closed
	h.mu.Unlock()
	h.stats.CxTotal.Add(1)
	h.stats.CxActive.Add(1)
	x.stats.CxTotal.Add(1)
	x.stats.CxActive.Add(1)
	c.cc = h.m.codec(t, func() { h.gone(c) })
	if closed {
		h.drop(c, stream.Reason{Code: stream.Draining, Detail: "the proxy ends"})
		return nil, stream.Reason{Code: stream.Draining, Detail: "the proxy ends"}
	}
	return c, nil
}

// codec makes the HTTP side of a connection.
func (m *Manager) codec(t rawio.Transport, hangup func()) stream.ClientConn {
	if m.o.Codec != nil {
		return m.o.Codec(t, hangup)
	}
	return http1.NewClientConn(t, http1.ClientOptions{Watch: m.o.Watch, Gone: hangup})
}

func (h *Handle) countFailure(x *host, err error) {
	var ce *connectError
	if !errors.As(err, &ce) {
		return // the try was given up
	}
	if ce.code == stream.ConnectTimeout {
		h.stats.CxConnectTimeout.Add(1)
	}
	h.stats.CxConnectFail.Add(1)
	x.stats.CxConnectFail.Add(1)
	h.observe(x, Outcome{Reason: ce.code})
}

// failed turns the error of a connection attempt into the try's.
func (h *Handle) failed(s *stream.Stream, tg *target, err error) error {
	var ce *connectError
	if !errors.As(err, &ce) {
		return err
	}
	s.Upstream.FailureError = ce.Error()
	tg.host.stats.RqError.Add(1)
	return stream.NewReply(0, stream.Reason{Code: ce.code, Detail: ce.Error()})
}

// unsupported says why a cluster's protocol cannot be spoken; "" if it can.
func unsupported(cfg *config.Cluster) string {
	if cfg.Protocol == config.SpeakHTTP2 {
		return "cluster " + cfg.Name + " asks for HTTP/2, which this proxy does not speak yet"
	}
	return ""
}
