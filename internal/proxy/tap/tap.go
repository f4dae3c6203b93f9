// Package tap shows requests to somebody who watches, as they end. While nobody does,
// a request pays for one look at a pointer.
package tap

import (
	"encoding/json"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// Bounds of a proxy's taps.
const (
	maxTaps    = 8
	queue      = 256 // events that wait to be sent; more are dropped and counted
	defaultRPS = 100
	maxRPS     = 10_000
	maxHeader  = 4 << 10 // bytes of a value that are shown
)

// Tap is a proxy's taps. It is a stream.Observer and a report.Tap.
type Tap struct {
	// immutable
	proxy    string
	self     *peermeta.Peer
	peerSlot int
	events   chan []byte

	active atomic.Pointer[[]*watcher] // nil: nobody watches
	mu     sync.Mutex                 // serialises writers of active
}

// watcher is one request of the control plane.
type watcher struct {
	wire.TapRequest
	rps float64

	mu      sync.Mutex
	tokens  float64   // guarded by mu
	refill  time.Time // guarded by mu
	dropped uint64    // guarded by mu
}

// New makes the taps of a proxy. peerSlot is the slot of the metadata exchange.
func New(proxy string, self *peermeta.Peer, peerSlot int) *Tap {
	return &Tap{proxy: proxy, self: self, peerSlot: peerSlot, events: make(chan []byte, queue)}
}

// Events implements report.Tap.
func (t *Tap) Events() <-chan []byte { return t.events }

// Start implements report.Tap.
func (t *Tap) Start(request []byte) error {
	w := &watcher{refill: time.Now()}
	if err := wire.UnmarshalTap(request, &w.TapRequest); err != nil {
		return err
	}
	w.rps = defaultRPS
	if w.MaxRPS > 0 && !math.IsNaN(w.MaxRPS) {
		w.rps = min(w.MaxRPS, maxRPS)
	}
	w.tokens = max(1, w.rps)
	t.change(func(list []*watcher) []*watcher {
		if len(list) >= maxTaps {
			list = list[1:] // the oldest has been forgotten
		}
		return append(list, w)
	})
	return nil
}

// Stop implements report.Tap.
func (t *Tap) Stop(request []byte) error {
	var u wire.Untap
	if err := wire.UnmarshalTap(request, &u); err != nil {
		return err
	}
	t.change(func(list []*watcher) []*watcher {
		var rest []*watcher
		for _, w := range list {
			if w.ID != u.ID {
				rest = append(rest, w)
			}
		}
		return rest
	})
	return nil
}

// Reset implements report.Tap.
func (t *Tap) Reset() { t.change(func([]*watcher) []*watcher { return nil }) }

// change replaces the list of watchers.
func (t *Tap) change(f func([]*watcher) []*watcher) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []*watcher
	if p := t.active.Load(); p != nil {
		list = append(list, *p...)
	}
	if list = f(list); len(list) == 0 {
		t.active.Store(nil)
		return
	}
	t.active.Store(&list)
}

// Done implements stream.Observer.
func (t *Tap) Done(s *stream.Stream, o *stream.Outcome) {
	if list := t.active.Load(); list != nil {
		t.show(*list, s, o)
	}
}

func (t *Tap) show(list []*watcher, s *stream.Stream, o *stream.Outcome) {
	for _, w := range list {
		if !w.wants(s, o) {
			continue
		}
		dropped, ok := w.take(time.Now())
		if !ok {
			continue
		}
		e := t.event(s, o)
		e.Tap, e.Dropped = w.ID, dropped
		text, err := json.Marshal(e)
		if err != nil {
			continue // strings and numbers have a JSON form
		}
		select {
		case t.events <- text:
		default:
			w.drop(dropped + 1)
		}
	}
}

// take asks the watcher's bucket for one event, and tells how many were dropped
// before it.
func (w *watcher) take(now time.Time) (dropped uint64, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens = min(w.tokens+now.Sub(w.refill).Seconds()*w.rps, max(1, w.rps))
	w.refill = now
	if w.tokens < 1 {
		w.dropped++
		return 0, false
	}
	w.tokens--
	dropped, w.dropped = w.dropped, 0
	return dropped, true
}

func (w *watcher) drop(n uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dropped += n
}

// wants reports whether a request is asked for.
func (w *watcher) wants(s *stream.Stream, o *stream.Outcome) bool {
	r := &s.Request
	switch {
	case w.Method != "" && !stream.EqualFold(r.Method, strings.ToLower(w.Method)):
		return false
	case w.PathPrefix != "" && !strings.HasPrefix(string(r.Path), w.PathPrefix):
		return false
	case w.StatusTo != 0 && (o.Status < w.StatusFrom || o.Status > w.StatusTo):
		return false
	case w.To != "" && !w.isTo(s):
		return false
	}
	for _, h := range w.Headers {
		v := r.Get(stream.N(h[0]))
		if v == nil || h[1] != "" && string(v) != h[1] {
			return false
		}
	}
	return true
}

func (w *watcher) isTo(s *stream.Stream) bool {
	host := serviceOf(s).Host
	return host == w.To || strings.HasPrefix(host, w.To+".")
}

// serviceOf finds the service that a request went to.
func serviceOf(s *stream.Stream) config.Service {
	if c, _ := s.Upstream.ClusterNode.(*config.Cluster); c != nil && len(c.Metadata.Services) > 0 {
		return c.Metadata.Services[0]
	}
	host := string(s.Request.Authority)
	if i := strings.LastIndexByte(host, ':'); i > 0 {
		host = host[:i]
	}
	return config.Service{Host: host}
}

// event describes an exchange. Nothing in it is a view into the stream.
func (t *Tap) event(s *stream.Stream, o *stream.Outcome) *wire.TapEvent {
	r, c := &s.Request, s.Conn
	e := &wire.TapEvent{
		Time: float64(s.Start.UnixMicro()) / 1e6, Proxy: t.proxy, Direction: c.Dir.String(), Protocol: r.Proto.String(),
		Method: string(r.Method), Path: string(r.Path), Authority: string(r.Authority), Status: o.Status,
		Flags: stream.Flags(o.Reason.Code, s.Notes()), Details: o.Reason.Detail, DurationMs: float64(o.Duration) / 1e6,
		BytesReceived: o.BytesReceived, BytesSent: o.BytesSent, Cluster: s.Upstream.Cluster, RequestID: string(r.Get(stream.N("x-request-id"))),
		RequestHeaders: headers(&r.Head),
	}
	if s.Route != nil {
		e.Route = s.Route.RouteName()
	}
	if o.Response != nil {
		e.ResponseHeaders = headers(&o.Response.Head)
	}
	if s.GRPC.Answered {
		status := int(s.GRPC.Status)
		e.GRPCStatus = &status
	}
	self := peerOf(t.self)
	var peer wire.TapPeer
	if t.peerSlot >= 0 {
		p, _ := (*s.Slot(t.peerSlot)).(*peermeta.Peer)
		peer = peerOf(p)
	}
	tls := s.Upstream.TLS
	e.Source, e.Destination = self, peer
	if c.Dir == stream.Inbound {
		tls = c.TLS
		e.Source, e.Destination = peer, self
	} else if ep, _ := s.Upstream.Endpoint.(*config.Endpoint); e.Destination.Workload == "" && ep != nil {
		e.Destination = peerOf(peermeta.FromEndpoint(ep.Workload))
	}
	if tls != nil && tls.Mutual {
		e.MTLS = true
		e.Source.Principal, e.Destination.Principal = tls.LocalURI, tls.PeerURI
		if c.Dir == stream.Inbound {
			e.Source.Principal, e.Destination.Principal = tls.PeerURI, tls.LocalURI
		}
	}
	e.Source.Address = c.Remote.String()
	if s.Upstream.Host.IsValid() {
		e.Destination.Address = s.Upstream.Host.String()
	}
	e.Destination.Service = serviceOf(s).Host
	return e
}

func peerOf(p *peermeta.Peer) wire.TapPeer {
	if p == nil {
		return wire.TapPeer{}
	}
	return wire.TapPeer{Workload: p.Workload, Namespace: p.Namespace}
}

// Redacted stands for values that nobody is shown.
const Redacted = "[redacted]"

// secretParts are in the names of headers that carry secrets.
var secretParts = []string{"authorization", "cookie", "token", "secret", "password", "api-key", "apikey", "credential", "x-forwarded-client-cert", "signature", "session"}

// secret reports whether a header's values are kept back.
func secret(name string) bool {
	name = strings.ToLower(name)
	for _, part := range secretParts {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

// headers copies a head's fields.
func headers(h *stream.Head) [][2]string {
	out := make([][2]string, 0, h.Len())
	for name, value := range h.All() {
		n, v := string(name), string(value[:min(len(value), maxHeader)])
		if secret(n) {
			v = Redacted
		}
		out = append(out, [2]string{n, v})
	}
	return out
}
