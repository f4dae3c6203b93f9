package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/http2"
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
// or the cause with which ctx was cancelled. down is the client's connection that this
// one alone is for; nil: many share it.
func (h *Handle) connect(ctx context.Context, v *view, tg *target, want *wish, down *stream.Conn) (rawio.Transport, *stream.TLS, error) {
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
	if v.cfg.ProxyHeader > 0 {
		if err := writeProxyHeader(t, v.cfg.ProxyHeader, down); err != nil {
			// The header's error counts; closing a broken socket can add nothing.
			_ = t.Close()
			return nil, nil, connectFailure(ctx, stream.ConnectFailure, err, limit)
		}
	}
	if tg.link.tls == nil {
		return t, nil, nil
	}
	c, err := h.secure(ctx, tg, t, want)
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

func (h *Handle) secure(ctx context.Context, tg *target, t rawio.Transport, want *wish) (*rawio.TLSConn, error) {
	cfg, err := tg.link.tls.Config(tlsctx.Dial{Endpoint: tg.endpoint.Addr, ServerName: want.sni, Speak: want.speak, ALPN: want.alpn})
	if err != nil {
		return nil, err
	}
	c, err := h.m.gate.Client(ctx, t, cfg)
	if err != nil {
		return nil, fmt.Errorf("%w (offered %s)", err, protocolList(cfg.NextProtos))
	}
	if err := checkSpoken(want.speak, c.ConnectionState().NegotiatedProtocol); err != nil {
		return nil, err
	}
	return c, nil
}

func protocolList(alpn []string) string {
	if len(alpn) == 0 {
		return "no protocol"
	}
	return strings.Join(alpn, ", ")
}

// checkSpoken refuses a connection on which the endpoint will speak something else
// than was wished. One that has negotiated nothing is taken at our word, as in
// Envoy.
func checkSpoken(want tlsctx.Speak, alpn string) error {
	p, known := tlsctx.Spoken(alpn)
	switch {
	case known && want == tlsctx.HTTP2 && p != stream.HTTP2:
		return fmt.Errorf("the endpoint negotiated %q where HTTP/2 is to be spoken", alpn)
	case known && want == tlsctx.HTTP1 && p == stream.HTTP2:
		return fmt.Errorf("the endpoint negotiated %q where HTTP/1.1 is to be spoken", alpn)
	}
	return nil
}

// multiplexes reports whether a connection that was made for a wish speaks HTTP/2.
func multiplexes(want *wish, facts *stream.TLS) bool {
	if want.speak != tlsctx.Negotiated {
		return want.speak == tlsctx.HTTP2
	}
	p, _ := tlsctx.Spoken(facts.ALPN)
	return p == stream.HTTP2
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

// codec makes the HTTP side of a connection.
func (h *Handle) codec(t rawio.Transport, v *view, c *conn) stream.ClientConn {
	gone := func() { h.gone(c) }
	if !c.mux {
		return http1.NewClientConn(t, http1.ClientOptions{Watch: h.m.o.Watch, Gone: gone})
	}
	o := &v.cfg.HTTP2
	return http2.NewClientConn(t, http2.ClientOptions{
		Limits: http2.Limits{
			StreamWindow: o.StreamWindow, ConnWindow: o.ConnWindow, KeepAlive: o.PingAfter, KeepAliveTimeout: o.PingTimeout,
			Now: h.m.o.Now, Log: h.m.o.Log,
		},
		MaxStreams: o.MaxStreams, Gone: gone, Room: func(limit int) { h.told(c, limit) },
	})
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
