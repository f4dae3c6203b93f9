package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Resource is one resource, marshalled. It is immutable and shared by all the
// connections that get it.
type Resource struct {
	Name    string
	Version string // changes when Body does
	Body    []byte // the message (Any.value)
}

// State is the desired state of one client: resources by type and name. It is
// immutable once offered.
type State struct {
	Revision int64 // of the configuration it was made from
	Types    map[string]map[string]*Resource
}

// Conn is one client's stream.
type Conn struct {
	// immutable
	ID       uint64
	Node     *corev3.Node
	Identity *Identity // nil where nobody was asked
	Since    time.Time
	server   *Server
	protocol protocol
	wake     chan struct{} // one slot

	mu      sync.Mutex
	want    *State            // guarded by mu; nil before the first offer
	watches map[string]*watch // guarded by mu
	nonces  uint64            // guarded by mu
	settled int64             // guarded by mu: the newest revision that was answered completely
	alarmed bool              // guarded by mu: a timer will wake the sender
}

func newConn(s *Server, id uint64, node *corev3.Node, who *Identity, p protocol) *Conn {
	return &Conn{
		ID: id, Node: node, Identity: who, Since: s.o.Now(), server: s, protocol: p,
		wake: make(chan struct{}, 1), watches: map[string]*watch{}, settled: -1,
	}
}

// Offer sets the state that the client should have. It replaces an offer that is
// not sent yet. Any goroutine.
func (c *Conn) Offer(s *State) {
	c.mu.Lock()
	c.want = s
	c.mu.Unlock()
	c.poke()
}

func (c *Conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// receiveLoop takes requests until the stream ends and returns why.
func (c *Conn) receiveLoop(r request) error {
	for {
		if err := c.take(r); err != nil {
			return err
		}
		c.poke()
		c.server.o.Owner.Progress(c)
		var err error
		if r, err = c.protocol.receive(); err != nil {
			if errors.Is(err, io.EOF) {
				return io.EOF
			}
			return err
		}
	}
}

// take applies one request to the client's subscriptions.
func (c *Conn) take(r request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.watches[r.typeURL]
	if w == nil {
		if !slices.Contains(c.server.o.PushTypes, r.typeURL) {
			c.server.o.Log.Warn("a type that is not served was asked for", "node", c.Node.GetId(), "type", r.typeURL)
			return nil
		}
		w = newWatch(r.typeURL, slices.Contains(c.server.o.FullTypes, r.typeURL))
		c.watches[r.typeURL] = w
		w.opened = c.server.o.Now()
		w.start(r)
		c.unsettle(w)
		return nil
	}
	if r.nonce != "" {
		known := w.answer(r, c.server.o.Now())
		if !known && r.replace {
			// An answer to a response that was superseded. The list of names in it is
			// old too: the client says it again with its next answer.
			return nil
		}
		if known && r.refused != "" {
			c.server.o.Refused(r.typeURL)
			c.server.o.Log.Warn("configuration refused by the proxy", "node", c.Node.GetId(), "type", w.shortType(), "err", r.refused)
		}
	}
	w.change(r)
	c.unsettle(w)
	return nil
}

// unsettle takes back that everything is in force when a client has asked for more.
func (c *Conn) unsettle(w *watch) {
	if c.want != nil && c.settled >= c.want.Revision && w.due(c.want, c.protocol.incremental()) {
		c.settled = c.want.Revision - 1
	}
}

// sendLoop sends what is due until the stream ends.
func (c *Conn) sendLoop(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			err := context.Cause(ctx)
			if errors.Is(err, io.EOF) || errors.Is(err, context.Canceled) {
				return nil
			}
			return err
		case <-c.wake:
		}
		before := c.Settled()
		for r, ok := c.next(); ok; r, ok = c.next() {
			if err := c.protocol.send(r); err != nil {
				return err
			}
			c.server.o.Sent(r.typeURL)
		}
		if c.Settled() != before {
			c.server.o.Owner.Progress(c)
		}
	}
}

// next finds the next response to send and books it; ok is false when there is
// nothing to send before the client answers or the state changes.
func (c *Conn) next() (r response, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.want == nil {
		return r, false
	}
	waiting := false
	for _, t := range c.server.o.PushTypes {
		if t == c.server.o.Gate && (waiting || c.unasked()) || t == c.server.o.Last && (waiting || c.unasked() || c.unnamed()) {
			return r, false // what it refers to is not in force yet
		}
		w := c.watches[t]
		if w == nil {
			continue
		}
		if w.due(c.want, c.protocol.incremental()) {
			if len(w.outstanding) > 0 {
				// Its turn comes when the client has answered. That of endpoints does not wait
				// for it: an Envoy answers for clusters when they are warm, with endpoints.
				waiting = true
				continue
			}
			return c.book(w, w.additions(c.want, c.protocol.incremental())), true
		}
		waiting = waiting || len(w.outstanding) > 0
	}
	if waiting {
		return r, false
	}
	// Everything new is in force: what is no longer wanted may go, users first.
	for _, t := range slices.Backward(c.server.o.PushTypes) {
		if w := c.watches[t]; w != nil && w.surplus(c.want) {
			if c.returning() {
				return r, false
			}
			if res, removed, any := w.removals(c.want, c.protocol.incremental()); any {
				return c.book(w, response{resources: res, removed: removed}), true
			}
		}
	}
	if len(c.watches) > 0 && !c.unnamed() {
		c.settled = c.want.Revision
		for t, w := range c.watches {
			w.clean = c.want.Types[t]
		}
	}
	return r, false
}

// unasked reports whether the client has something that it will ask more for:
// clusters whose endpoints it has not subscribed to yet. A client that does not
// ask within a while never will.
func (c *Conn) unasked() bool {
	for from, to := range c.server.o.Warms {
		a, b := c.watches[from], c.watches[to]
		if a == nil || a.isClean(c.want) && b != nil && b.isClean(c.want) || c.server.o.Now().Sub(later(a.opened, a.lastSent)) > c.server.o.Patience {
			continue
		}
		for name := range c.want.Types[to] {
			if a.have[name] != nil && a.refusals[name].Name == "" && (b == nil || !b.wants(name)) {
				c.alarm(c.server.o.Patience)
				return true
			}
		}
	}
	return false
}

// returning reports whether the client may not have said yet all that it has: one
// that connects again says it type by type, and must not lose clusters that its
// listeners and routes still name.
func (c *Conn) returning() bool {
	i := slices.Index(c.server.o.PushTypes, c.server.o.Gate)
	if i < 0 {
		return false
	}
	left := c.server.o.Patience - c.server.o.Now().Sub(c.Since)
	for _, t := range c.server.o.PushTypes[i:] {
		if c.watches[t] == nil && t != c.server.o.Last && !slices.Contains(c.server.o.Aside, t) && left > 0 {
			c.alarm(left)
			return true
		}
	}
	return false
}

// Subscribed lists the names that the client has subscribed to in a type, in no
// order, without the wildcard; the version changes whenever they may have.
func (c *Conn) Subscribed(typeURL string) (names []string, version int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	w := c.watches[typeURL]
	if w == nil {
		return nil, 0
	}
	return slices.Collect(maps.Keys(w.names)), w.turns
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// unnamed reports whether the client has something in which it will find names that
// it has not subscribed to yet: listeners that name route tables.
func (c *Conn) unnamed() bool {
	for from, to := range c.server.o.Names {
		a, b := c.watches[from], c.watches[to]
		if a == nil || a.isClean(c.want) && b != nil && b.isClean(c.want) || c.server.o.Now().Sub(later(a.opened, a.lastSent)) > c.server.o.Patience {
			continue
		}
		for name := range c.want.Types[to] {
			if b == nil || !b.wants(name) {
				c.alarm(c.server.o.Patience)
				return true
			}
		}
	}
	return false
}

// alarm wakes the sender after a while; the timer goes with the connection's
// garbage, a late token harms nobody.
func (c *Conn) alarm(d time.Duration) {
	if c.alarmed {
		return
	}
	c.alarmed = true
	time.AfterFunc(d, func() {
		c.mu.Lock()
		c.alarmed = false
		c.mu.Unlock()
		c.poke()
	})
}

// Settled is the newest revision that the client has answered completely; -1
// before the first.
func (c *Conn) Settled() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settled
}

// Asked reports whether the client has asked for all of the types.
func (c *Conn) Asked(typeURLs ...string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range typeURLs {
		if c.watches[t] == nil {
			return false
		}
	}
	return true
}

// book notes a response as sent.
func (c *Conn) book(w *watch, r response) response {
	c.nonces++
	r.typeURL, r.nonce = w.typeURL, strconv.FormatUint(c.nonces, 10)
	r.version = fmt.Sprintf("%d/%d", c.want.Revision, c.nonces)
	if to := c.watches[c.server.o.Warms[w.typeURL]]; to != nil {
		for _, x := range r.resources {
			if h := w.have[x.Name]; h != nil && h.Version != x.Version {
				to.again[x.Name], to.clean = true, nil
			}
		}
	}
	w.sent(r, c.want.Revision, c.server.o.Now())
	return r
}
