package listener

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime/debug"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// accept takes connections from one listening socket until it is closed.
func (m *Manager) accept(s *socket, x *rawio.Listener) {
	spare := newReserve()
	defer spare.close()
	var quiet time.Time // when a failure may be logged again
	for {
		c, err := x.Accept()
		if errors.Is(err, rawio.ErrClosed) {
			return
		}
		if err != nil {
			if now := time.Now(); now.After(quiet) {
				quiet = now.Add(time.Second)
				m.log.Warn("accept failed", "listener", s.cfg.Load().Name, "err", err)
			}
			ok := false
			if outOfDescriptors(err) {
				c, ok = m.acceptWith(spare, s, x)
			}
			if !ok {
				time.Sleep(20 * time.Millisecond)
			}
			if c == nil {
				continue
			}
		}
		m.stats.Total.Add(1)
		if why := m.noRoom(); why != "" {
			m.turnAway(s, x, c, why)
			continue
		}
		go func() {
			a := arrival{m: m, sock: s, raw: c, t: c, bound: x.Addr()}
			a.run()
		}()
	}
}

// arrival is a connection on its way to the chain that serves it.
type arrival struct {
	m     *Manager
	sock  *socket
	raw   *rawio.Conn
	bound netip.AddrPort

	t     rawio.Transport // grows: prefix, TLS
	l     *config.Listener
	conn  *stream.Conn
	facts match.ChainFacts
	ahead *ahead // nil: no server was opened while the client was silent

	// of the goroutine that serves it
	chain *Chain
	serve Conn        // nil before the first step
	late  *time.Timer // see Chain.take
}

// run brings the connection to its chain. It returns when the connection has
// ended, or was passed on to a goroutine of its own.
func (a *arrival) run() {
	passedOn := false
	defer func() {
		if p := recover(); p != nil {
			a.m.log.Error("defect while a connection was accepted", "panic", p, "stack", string(debug.Stack()))
			a.m.stats.Panics.Add(1)
			passedOn = false
		}
		if !passedOn {
			a.end()
		}
	}()
	if err := a.identify(); err != nil {
		a.refuse(reasonOf(err, stream.Internal))
		return
	}
	if err := a.inspect(); err != nil {
		a.refuse(stream.Reason{Code: stream.DownstreamProtocol, Detail: err.Error()})
		return
	}
	fc := match.FindChain(a.l, &a.facts, nil)
	if fc == nil {
		a.m.stats.NoChain.Add(1)
		a.refuse(a.noChain())
		return
	}
	if a.ahead != nil && (a.ahead.chain != fc || a.ahead.server == nil) {
		a.ahead.drop()
		a.ahead = nil
	}
	c, ok := fc.Runtime.(*Chain)
	if !ok {
		a.refuse(stream.Reason{Code: stream.Internal, Detail: "filter chain " + fc.Name + " was not built"})
		return
	}
	a.conn.Listener, a.conn.Chain, a.conn.Dir = a.l.Name, fc.Name, a.l.Dir
	a.chain = c
	if c.tls == nil {
		passedOn = true
		a.ride()
		return
	}
	if err := a.handshake(c); err != nil {
		a.m.stats.HandshakeFail.Add(1)
		a.refuse(stream.Reason{Code: stream.DownstreamProtocol, Detail: err.Error()})
		return
	}
	// The stack that the handshake has grown is left behind.
	passedOn = true
	go a.ride()
}

// ride serves the connection on the calling goroutine: to its end, or until it waits
// without one. It recovers a panic at the root of a connection: the others go on.
func (a *arrival) ride() {
	ended := true
	defer func() {
		if p := recover(); p != nil {
			a.m.log.Error("defect while a connection was served", "panic", p, "stack", string(debug.Stack()))
			a.m.stats.Panics.Add(1)
		}
		if !ended {
			return // a is the next goroutine's already
		}
		if a.serve != nil {
			a.chain.leave(a.serve)
		}
		if a.late != nil {
			a.late.Stop()
		}
		a.end()
	}()
	if a.serve == nil {
		a.serve, a.late = a.chain.take(a)
	}
	if s, ok := a.serve.(stepper); ok {
		ended = s.Step(a.wake)
		return
	}
	a.serve.Serve()
}

// wake goes on with a connection that waited without a goroutine.
func (a *arrival) wake() { go a.ride() }

func (a *arrival) end() {
	_ = a.t.Close() // closed by its server already, mostly
	if a.ahead != nil {
		a.ahead.settle()
		a.ahead.drop()
	}
	a.m.stats.Active.Add(-1)
}

// identify finds out which address the client meant, and the listener for it.
func (a *arrival) identify() error {
	a.l = a.sock.cfg.Load()
	a.conn = &stream.Conn{
		ID: a.m.nextID.Add(1), Remote: a.raw.RemoteAddr(), Local: a.raw.LocalAddr(), Bound: a.bound, Start: time.Now(),
	}
	if a.l.UseOriginalDst || a.l.OriginalDst {
		// A connection that was not redirected keeps its own address.
		if dst, err := a.raw.OriginalDst(); err == nil {
			a.conn.Local = dst
		}
	}
	if ask := a.m.opts.Demand; ask != nil && a.l.UseOriginalDst && a.l.Dir == stream.Outbound {
		if err := ask(a.conn.Local); err != nil {
			return err
		}
	}
	a.l = a.listenerNow()
	a.facts.Dest, a.facts.Source = a.conn.Local, a.conn.Remote
	return nil
}

// reasonOf is the reason that an error is, or one with the code.
func reasonOf(err error, code stream.Code) stream.Reason {
	var why stream.Reason
	if errors.As(err, &why) {
		return why
	}
	return stream.Reason{Code: code, Detail: err.Error()}
}

// listenerNow finds the listener that the configuration in force has for the
// connection.
func (a *arrival) listenerNow() *config.Listener {
	l := a.sock.cfg.Load()
	if l.UseOriginalDst {
		if to := match.FindListener(a.m.set.Load(), a.conn.Local, nil); to != nil {
			return to
		}
	}
	return l
}

// stillServed reports whether a connection that came now as this one did would
// find a chain.
func (a *arrival) stillServed() bool { return match.FindChain(a.listenerNow(), &a.facts, nil) != nil }

// noChain is the reason for a connection that no chain serves: plain text where
// only TLS is served, or nothing at all at that address.
func (a *arrival) noChain() stream.Reason {
	if a.facts.Transport != "tls" {
		f := a.facts
		f.Transport, f.ALPNs = "tls", []string{"istio"}
		if match.FindChain(a.l, &f, nil) != nil {
			return stream.Reason{Code: stream.TLSRequired, Detail: "plain text where mutual TLS is required"}
		}
	}
	return stream.Reason{Code: stream.NoRoute, Detail: "no filter chain matches " + a.conn.Local.String()}
}

func (a *arrival) refuse(why stream.Reason) {
	a.conn.Listener, a.conn.Dir = a.l.Name, a.l.Dir
	if why.Code != stream.DownstreamGone {
		a.m.log.Debug("connection refused", "listener", a.l.Name, "remote", a.conn.Remote, "local", a.conn.Local, "reason", why.Error())
	}
	if a.m.opts.Unserved != nil {
		a.m.opts.Unserved(a.l, a.conn, why)
	}
}

// handshake makes the connection a TLS connection.
func (a *arrival) handshake(c *Chain) error {
	cfg, err := c.tls.Config()
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.handshake)
	defer cancel()
	t, err := a.m.handshakes.Server(ctx, a.t, cfg)
	a.t = t
	if err != nil {
		return fmt.Errorf("tls handshake: %w", err)
	}
	a.conn.TLS = c.tls.Facts(t.ConnectionState())
	return nil
}
