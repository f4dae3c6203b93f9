package server

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

const (
	cluster  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpoint = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listener = "type.googleapis.com/envoy.config.listener.v3.Listener"
	route    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// form is a protocol of a model: only which one it is matters.
type form struct{ delta bool }

func (f form) incremental() bool       { return f.delta }
func (form) receive() (request, error) { return request{}, nil }
func (form) send(response) error       { return nil }
func newModelConn(f form) *Conn {
	now := time.Unix(1000, 0)
	s := New(Options{
		PushTypes: []string{cluster, endpoint, listener, route}, FullTypes: []string{cluster, listener}, Gate: listener,
		Warms: map[string]string{cluster: endpoint}, Now: func() time.Time { return now },
	})
	return newConn(s, 1, &corev3.Node{Id: "x"}, nil, f)
}

// model is a proxy that answers late and in any order of types, and checks at
// every moment that what its routes name is there.
type model struct {
	t      *testing.T
	r      *rand.Rand
	c      *Conn
	f      form
	have   map[string]map[string]*Resource
	eds    map[string]bool // subscribed
	queue  []request       // that the server has not got yet
	nonces map[string]string
	opened map[string]bool
	seed   uint64
	trace  []string
}

func (m *model) say(format string, args ...any) {
	m.trace = append(m.trace, fmt.Sprintf(format, args...))
}

func newModel(t *testing.T, r *rand.Rand, f form) *model {
	m := &model{t: t, r: r, f: f, c: newModelConn(f), have: map[string]map[string]*Resource{}, eds: map[string]bool{}, nonces: map[string]string{}, opened: map[string]bool{}}
	m.reconnect()
	return m
}

// reconnect starts a new stream with what is there.
func (m *model) reconnect() {
	want := m.c.want
	m.say("reconnect")
	m.c = newModelConn(m.f)
	m.c.want = want
	m.queue, m.nonces, m.opened = nil, map[string]string{}, map[string]bool{}
	for _, typ := range []string{cluster, endpoint, listener, route} {
		if m.have[typ] == nil {
			m.have[typ] = map[string]*Resource{}
		}
		q := request{typeURL: typ, replace: !m.f.delta}
		switch typ {
		case route:
			q.subscribe = []string{"r"}
		case endpoint:
			if q.subscribe = slices.Sorted(maps.Keys(m.eds)); len(q.subscribe) == 0 {
				continue
			}
		}
		if m.f.delta {
			q.known = map[string]string{}
			for n, x := range m.have[typ] {
				q.known[n] = x.Version
			}
		}
		m.opened[typ] = true
		m.queue = append(m.queue, q)
	}
}

// apply takes a response and queues its answer.
func (m *model) apply(r response) {
	var names []string
	for _, x := range r.resources {
		names = append(names, x.Name+"="+x.Version)
	}
	m.say("<- %s %s %v -%v", ShortType(r.typeURL), r.nonce, names, r.removed)
	m.nonces[r.typeURL] = r.nonce
	had := m.have[r.typeURL]
	next := maps.Clone(had)
	if !m.f.delta && (r.typeURL == cluster || r.typeURL == listener) {
		next = map[string]*Resource{}
	}
	for _, x := range r.resources {
		next[x.Name] = x
	}
	for _, n := range r.removed {
		delete(next, n)
	}
	m.have[r.typeURL] = next
	m.queue = append(m.queue, m.answer(r))
	if r.typeURL == cluster {
		var added, gone []string
		for n := range next {
			if !m.eds[n] {
				m.eds[n] = true
				added = append(added, n)
			}
		}
		for n := range m.eds {
			if next[n] == nil {
				delete(m.eds, n)
				delete(m.have[endpoint], n)
				gone = append(gone, n)
			}
		}
		if len(added)+len(gone) > 0 {
			m.subscribe(added, gone)
		}
	}
	m.check()
}

func (m *model) answer(r response) request {
	q := request{typeURL: r.typeURL, nonce: r.nonce}
	if !m.f.delta {
		q.replace = true
		switch r.typeURL {
		case endpoint:
			q.subscribe = slices.Sorted(maps.Keys(m.eds))
		case route:
			q.subscribe = []string{"r"}
		}
	}
	return q
}

func (m *model) subscribe(added, gone []string) {
	q := request{typeURL: endpoint, subscribe: added, unsubscribe: gone}
	if !m.f.delta {
		q = request{typeURL: endpoint, subscribe: slices.Sorted(maps.Keys(m.eds)), nonce: m.nonces[endpoint], replace: true}
	}
	if !m.opened[endpoint] && len(m.eds) == 0 {
		return
	}
	m.opened[endpoint] = true
	m.queue = append(m.queue, q)
}

// check is make before break: a route never names what is not there.
func (m *model) check() {
	m.t.Helper()
	defer func() {
		if m.t.Failed() {
			m.t.Log(strings.Join(m.trace, "\n"))
		}
	}()
	r := m.have[route]["r"]
	if r == nil {
		return
	}
	for n := range strings.SplitSeq(string(r.Body), ",") {
		if m.have[cluster][n] == nil {
			m.t.Fatalf("seed %d: the route names %s, and the cluster is not there", m.seed, n)
		}
		if m.have[endpoint][n] == nil {
			m.t.Fatalf("seed %d: the route names %s, and its endpoints are not there", m.seed, n)
		}
	}
}

// step lets the server read one request, or write what it can.
func (m *model) step() bool {
	if len(m.queue) > 0 && m.r.IntN(2) == 0 {
		q := m.queue[0]
		m.queue = m.queue[1:]
		m.say("-> %s nonce %q +%v -%v known %v", ShortType(q.typeURL), q.nonce, q.subscribe, q.unsubscribe, q.known)
		if err := m.c.take(q); err != nil {
			m.t.Fatal(err)
		}
		return true
	}
	m.c.mu.Lock()
	want := m.c.want
	m.c.mu.Unlock()
	if want == nil {
		return len(m.queue) > 0
	}
	if r, ok := m.c.next(); ok {
		m.apply(r)
		return true
	}
	return len(m.queue) > 0
}

// String shows a state without its bodies.
func (s *State) String() string {
	var parts []string
	for _, typ := range []string{cluster, endpoint, listener, route} {
		for _, n := range slices.Sorted(maps.Keys(s.Types[typ])) {
			parts = append(parts, ShortType(typ)[:1]+":"+n+"="+s.Types[typ][n].Version)
		}
	}
	return strings.Join(parts, " ")
}

// world makes a state: some clusters with endpoints, and a route to some of them.
func world(r *rand.Rand, revision int64) *State {
	s := &State{Revision: revision, Types: map[string]map[string]*Resource{cluster: {}, endpoint: {}, listener: {}, route: {}}}
	var names []string
	for n := range 6 {
		if r.IntN(2) == 0 && (n < 5 || len(names) > 0) {
			continue // at least one stays: without increments, a route cannot be withdrawn
		}
		name := fmt.Sprint("c", n)
		names = append(names, name)
		s.Types[cluster][name] = &Resource{Name: name, Version: fmt.Sprint(r.IntN(2)), Body: []byte(name)}
		s.Types[endpoint][name] = &Resource{Name: name, Version: fmt.Sprint(r.IntN(3)), Body: []byte(name)}
	}
	s.Types[listener]["l"] = &Resource{Name: "l", Version: fmt.Sprint(r.IntN(2)), Body: []byte("l")}
	body := strings.Join(names[:1+r.IntN(len(names))], ",")
	s.Types[route]["r"] = &Resource{Name: "r", Version: body, Body: []byte(body)}
	return s
}

// TestModel: whatever is offered, however late a proxy answers, and wherever its
// stream breaks, it never lacks what its routes name, and ends with what it should
// have.
func TestModel(t *testing.T) {
	for _, f := range []form{{delta: true}, {delta: false}} {
		t.Run(fmt.Sprint("delta ", f.delta), func(t *testing.T) {
			for seed := range uint64(400) {
				r := rand.New(rand.NewPCG(seed, 1))
				m := newModel(t, r, f)
				m.seed = seed
				var last *State
				for i := range 12 {
					last = world(r, int64(i+1))
					m.say("offer %d %v", last.Revision, last)
					m.c.Offer(last)
					for range r.IntN(25) {
						m.step()
					}
					// A proxy cannot tell what it has in the form without increments: after
					// a reconnection nobody knows what must stay.
					if f.delta && r.IntN(8) == 0 {
						m.reconnect()
					}
				}
				for i := 0; m.step(); i++ {
					if i > 10_000 {
						t.Fatalf("seed %d: server and proxy go on for ever", seed)
					}
				}
				for idle := 0; idle < 20; idle++ {
					m.step()
				}
				for _, typ := range []string{cluster, listener, route, endpoint} {
					for n, x := range last.Types[typ] {
						if got := m.have[typ][n]; got == nil || got.Version != x.Version {
							t.Fatalf("seed %d: %s %s is %v, want version %s", seed, ShortType(typ), n, got, x.Version)
						}
					}
					for n := range m.have[typ] {
						stays := typ == route || typ == endpoint && !f.delta // a proxy drops these by itself
						if last.Types[typ][n] == nil && !stays {
							t.Fatalf("seed %d: %s %s is still there", seed, ShortType(typ), n)
						}
					}
				}
				if s := m.c.Report().Settled; s != last.Revision {
					t.Fatalf("seed %d: settled %d, want %d", seed, s, last.Revision)
				}
			}
		})
	}
}
