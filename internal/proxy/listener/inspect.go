package listener

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// maxInspect bounds what is read before a chain is chosen.
const maxInspect = 32 << 10

// inspector reads the first bytes of a connection until the listener filters have
// found what they look for.
type inspector struct {
	t    rawio.Transport
	buf  []byte // read and not consumed
	eof  bool
	late bool // the time-out passed
	// silent is called once, when the client has said nothing for a while. It sets the
	// next deadline.
	silent func() error
}

// more reads once more. It reports false when nothing more is to be had: the
// client ended its direction, the time-out passed, or the bound is reached.
func (i *inspector) more() (bool, error) {
	if i.eof || i.late || len(i.buf) >= maxInspect {
		return false, nil
	}
	b, n, err := rawio.ReadLazy(i.t, rawio.SmallBuffer)
	if b != nil {
		i.buf = append(i.buf, b.B[:n]...)
		b.Release()
	}
	switch {
	case err == nil || n > 0:
		return true, nil
	case errors.Is(err, io.EOF):
		i.eof = true
		return false, nil
	case rawio.IsTimeout(err):
		if f := i.silent; f != nil {
			i.silent = nil
			return true, f()
		}
		i.late = true
		return false, nil
	}
	return false, err
}

var (
	errSilent = errors.New("the client sent nothing before the listener filters' time-out")
	errGone   = errors.New("the client closed before it sent anything")
)

// inspect runs the listener filters: PROXY protocol, TLS inspector, HTTP
// inspector. Without one, nothing is read: the server may speak first.
//
// A client that is silent for InspectTimeout is served by what is known of it,
// which is that it is not TLS, if ContinueOnTimeout says so; with no time-out the
// inspectors wait, for the client or the server (see ahead).
func (a *arrival) inspect() error {
	port := a.conn.Local.Port()
	tls := a.l.TLSInspector && !inRanges(a.l.TLSInspectorOff, port)
	http := a.l.HTTPInspector && !inRanges(a.l.HTTPInspectorOff, port)
	a.facts.Transport = "raw_buffer"
	if !tls && !http && !a.l.ProxyProtocol {
		return nil
	}
	i := &inspector{t: a.raw, silent: a.silent}
	if err := a.raw.SetReadDeadline(time.Now().Add(quiet)); err != nil {
		return err
	}
	if err := a.runInspectors(i, tls, http); err != nil {
		return err
	}
	open := a.ahead != nil && a.ahead.settle()
	if err := a.raw.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	serverFirst := open && len(a.ahead.first) > 0 && len(i.buf) == 0
	if i.eof && len(i.buf) == 0 && !serverFirst {
		return errGone
	}
	if i.late && !serverFirst && !a.l.ContinueOnTimeout {
		return errSilent
	}
	a.t = rawio.Prefixed(a.raw, i.buf)
	return nil
}

// silent is called when the client has said nothing for a while.
func (a *arrival) silent() error {
	var deadline time.Time
	if d := a.l.InspectTimeout; d > 0 {
		deadline = time.Now().Add(d - min(d, quiet))
	}
	if err := a.raw.SetReadDeadline(deadline); err != nil {
		return err
	}
	if !a.l.ProxyProtocol {
		a.ahead = a.openAhead()
	}
	return nil
}

func (a *arrival) runInspectors(i *inspector, tls, http bool) error {
	if a.l.ProxyProtocol {
		if err := a.proxyHeader(i); err != nil {
			return err
		}
	}
	if tls {
		h, err := until(i, ParseHello)
		switch {
		case err == nil:
			a.facts.Transport, a.facts.ServerName, a.facts.ALPNs = "tls", h.ServerName, h.ALPNs
			a.conn.ServerName = h.ServerName
			return nil
		case !errors.Is(err, errNotTLS) && !errors.Is(err, errMore):
			return err
		}
	}
	if http {
		p, err := until(i, ParseHTTP)
		switch {
		case err == nil:
			a.facts.ALPNs = []string{p}
		case !errors.Is(err, errNotHTTP) && !errors.Is(err, errMore):
			return err
		}
	}
	return nil
}

// until parses what is there, and reads as long as the parser asks for more. It
// returns errMore when there is no more.
func until[T any](i *inspector, parse func([]byte) (T, error)) (T, error) {
	for {
		v, err := parse(i.buf)
		if !errors.Is(err, errMore) {
			return v, err
		}
		ok, rerr := i.more()
		if rerr != nil {
			return v, rerr
		}
		if !ok {
			return v, errMore
		}
	}
}

// proxyHeader takes a PROXY protocol header off. It must be there: a listener
// that trusts it cannot serve those who do not send it.
func (a *arrival) proxyHeader(i *inspector) error {
	type result struct {
		h ProxyHeader
		n int
	}
	r, err := until(i, func(b []byte) (result, error) {
		h, n, err := ParseProxyHeader(b)
		return result{h, n}, err
	})
	if err != nil {
		if errors.Is(err, errMore) {
			err = errNoProxyHeader
		}
		return fmt.Errorf("proxy protocol: %w", err)
	}
	i.buf = bytes.Clone(i.buf[r.n:])
	if r.h.Source.IsValid() {
		a.conn.Direct = a.conn.Remote
		a.conn.Remote, a.conn.Local = r.h.Source, r.h.Dest
		a.facts.Source, a.facts.Dest = r.h.Source, r.h.Dest
	}
	return nil
}

func inRanges(list []config.PortRange, port uint16) bool {
	for _, r := range list {
		if r.Start <= port && port < r.End {
			return true
		}
	}
	return false
}
