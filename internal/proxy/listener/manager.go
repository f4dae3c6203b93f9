package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// Options are what a Manager works with. Sockets must be set.
type Options struct {
	Sockets rawio.Sockets
	Log     *slog.Logger
	// Handshakes is how many TLS handshakes compute at once; 0: GOMAXPROCS. One
	// that waits for its client does not count.
	Handshakes int
	// MaxConnections bounds connections; 0: no bound. What is above is closed at
	// once: there is no queue.
	MaxConnections int
	// DrainTime is what a chain's connections have to finish after it disappeared;
	// 0: 45 s, as Istio runs Envoy.
	DrainTime time.Duration
	// Unserved is told of connections that no chain served; nil: nobody is.
	Unserved func(l *config.Listener, c *stream.Conn, why stream.Reason)
	// Demand is asked before a redirected connection of the workload looks for its
	// listener, which may come by that, and may take its time; an error, which is a
	// stream.Reason, refuses the connection. nil: everything is there.
	Demand func(to netip.AddrPort) error
	// Declared reports whether a destination behind a listener is declared to be HTTP: a
	// silent client does not have its server opened there. nil: none is.
	Declared func(l *config.Listener, to netip.AddrPort) bool
	// Gate decides whether there is room for another connection; nil: there is.
	Gate Gate
}

// Gate protects the process.
type Gate interface {
	// Admit reports whether a new connection may be served, and else what is scarce.
	Admit() (why string, ok bool)
}

// Stats count connections. All are safe for concurrent use.
type Stats struct {
	Total, NoChain, HandshakeFail atomic.Uint64
	// Refused counts connections above MaxConnections, Overloaded those that the
	// gate or a lack of descriptors refused, Panics those that ended by a defect.
	Refused, Overloaded, Panics atomic.Uint64
	Active                      atomic.Int64
}

// Manager holds the listeners of one proxy. Safe for concurrent use.
type Manager struct {
	// immutable
	opts       Options
	log        *slog.Logger
	handshakes *tlsctx.Gate

	stats  Stats
	nextID atomic.Uint64
	set    atomic.Pointer[match.Listeners] // for hand-over
	wg     sync.WaitGroup                  // accept loops

	mu      sync.Mutex
	current []*config.Listener         // guarded by mu
	sockets map[netip.AddrPort]*socket // guarded by mu
	drains  map[*Chain]*time.Timer     // guarded by mu: chains that are gone, with their end
	closed  bool                       // guarded by mu
}

// socket is a bound address: several descriptors where it is reached from several
// namespaces.
type socket struct {
	addr      netip.AddrPort // as configured; the port may be 0
	listeners []*rawio.Listener
	cfg       atomic.Pointer[config.Listener] // whose connections these are
}

// New makes a manager without listeners.
func New(o Options) *Manager {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.DrainTime <= 0 {
		o.DrainTime = 45 * time.Second
	}
	m := &Manager{
		opts: o, log: o.Log, handshakes: tlsctx.NewGate(o.Handshakes),
		sockets: map[netip.AddrPort]*socket{}, drains: map[*Chain]*time.Timer{},
	}
	m.set.Store(match.NewListeners(nil))
	return m
}

// Stats are the manager's counters.
func (m *Manager) Stats() *Stats { return &m.stats }

// errClosed says that the manager was closed.
var errClosed = errors.New("the proxy ends")

// Apply puts a set of listeners in force, in place of the one before. The chains'
// Runtime must be set to a *Chain. Listeners that cannot be bound are reported by
// name and stay as they were; the others act.
func (m *Manager) Apply(set []*config.Listener) map[string]error {
	m.mu.Lock()
	defer m.mu.Unlock()
	failed := map[string]error{}
	if m.closed {
		for _, l := range set {
			failed[l.Name] = errClosed
		}
		return failed
	}
	next := make([]*config.Listener, 0, len(set))
	bound := map[netip.AddrPort]*config.Listener{}
	for _, l := range set {
		if err := m.bind(l, bound); err != nil {
			failed[l.Name] = err
			if l = m.named(l.Name); l == nil {
				continue
			}
			if l.Bind {
				bound[l.Addr] = l
			}
		}
		next = append(next, l)
	}
	// New connections see the new set from here on; then what is gone is closed.
	old := m.current
	m.current = next
	m.set.Store(match.NewListeners(next))
	for addr, l := range bound {
		m.sockets[addr].cfg.Store(l)
	}
	for addr, s := range m.sockets {
		if bound[addr] == nil {
			s.close()
			delete(m.sockets, addr)
		}
	}
	kept := chains(next)
	for c := range chains(old) {
		if !kept[c] {
			m.retire(c)
		}
	}
	return failed
}

// bind makes the sockets of a listener, if there are none at its address.
func (m *Manager) bind(l *config.Listener, bound map[netip.AddrPort]*config.Listener) error {
	if !l.Bind {
		return nil
	}
	if other := bound[l.Addr]; other != nil {
		return fmt.Errorf("address %s is the listener %q's already", l.Addr, other.Name)
	}
	if m.sockets[l.Addr] == nil {
		s, err := m.listen(l)
		if err != nil {
			return err
		}
		m.sockets[l.Addr] = s
		for _, x := range s.listeners {
			m.wg.Go(func() { m.accept(s, x) })
		}
	}
	bound[l.Addr] = l
	return nil
}

func (m *Manager) listen(l *config.Listener) (*socket, error) {
	fds, err := m.opts.Sockets.Listen(l.Addr)
	if err != nil {
		return nil, fmt.Errorf("cannot bind %s: %w", l.Addr, err)
	}
	s := &socket{addr: l.Addr}
	s.cfg.Store(l)
	for _, fd := range fds {
		x, lerr := rawio.Listen(fd)
		if lerr != nil {
			err = errors.Join(err, fmt.Errorf("cannot listen on %s: %w", l.Addr, lerr))
			continue
		}
		s.listeners = append(s.listeners, x)
	}
	if err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *socket) close() {
	for _, x := range s.listeners {
		_ = x.Close() // wakes the accept loop; there is nothing to lose
	}
}

// named finds a listener of the set in force. Called with mu held.
func (m *Manager) named(name string) *config.Listener {
	i := slices.IndexFunc(m.current, func(l *config.Listener) bool { return l.Name == name })
	if i < 0 {
		return nil
	}
	return m.current[i]
}

// chains lists the run-time chains of a set.
func chains(set []*config.Listener) map[*Chain]bool {
	out := map[*Chain]bool{}
	for _, l := range set {
		for _, fc := range append(slices.Clone(l.Chains), l.DefaultChain) {
			if fc == nil {
				continue
			}
			if c, ok := fc.Runtime.(*Chain); ok {
				out[c] = true
			}
		}
	}
	return out
}

// retire drains a chain that is gone, and ends what is left after DrainTime.
// Called with mu held.
func (m *Manager) retire(c *Chain) {
	c.withdraw((*arrival).stillServed)
	c.Drain()
	m.drains[c] = time.AfterFunc(m.opts.DrainTime, func() {
		c.Close(stream.Reason{Code: stream.Draining, Detail: "listener " + c.listener + ": the filter chain " + c.name + " was changed or removed"})
		m.mu.Lock()
		delete(m.drains, c)
		m.mu.Unlock()
	})
}

// Info describes a listener in force.
type Info struct {
	Config *config.Listener
	Bound  []netip.AddrPort // actual addresses; nil for one that is not bound
	Active int              // connections that its chains serve
}

// Listeners lists the listeners in force, by name.
func (m *Manager) Listeners() []Info {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Info
	for _, l := range m.current {
		i := Info{Config: l}
		if s := m.sockets[l.Addr]; l.Bind && s != nil {
			for _, x := range s.listeners {
				i.Bound = append(i.Bound, x.Addr())
			}
		}
		for c := range chains([]*config.Listener{l}) {
			i.Active += c.Active()
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b Info) int { return strings.Compare(a.Config.Name, b.Config.Name) })
	return out
}

// Ease asks the connections of listeners for which keep is false to go, and those that
// still arrive there: unlike Drain it goes on accepting, for clients that do not know
// better yet. It does not wait.
func (m *Manager) Ease(keep func(*config.Listener) bool) {
	m.mu.Lock()
	var going []*config.Listener
	for _, l := range m.current {
		if keep == nil || !keep(l) {
			going = append(going, l)
		}
	}
	m.mu.Unlock()
	for c := range chains(going) {
		c.Drain()
	}
}

// Drain stops accepting on listeners for which keep is false, drains their
// connections, and returns when none of these is left or ctx ends.
func (m *Manager) Drain(ctx context.Context, keep func(*config.Listener) bool) {
	m.mu.Lock()
	var going []*config.Listener
	for _, l := range m.current {
		if keep != nil && keep(l) {
			continue
		}
		going = append(going, l)
		if s := m.sockets[l.Addr]; l.Bind && s != nil {
			s.close()
		}
	}
	m.mu.Unlock()
	list := chains(going)
	for c := range list {
		c.Drain()
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	idle := time.After(idleGrace)
	for {
		left := 0
		for c := range list {
			left += c.Active()
		}
		if left == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-idle:
			for c := range list {
				c.endIdle()
			}
		case <-ctx.Done():
			return
		}
	}
}

// idleGrace is what clients of idle connections have to send one more request
// after Drain: by then they should have heard that the workload goes.
const idleGrace = 500 * time.Millisecond

// Close closes all sockets and connections, and returns when the accept loops
// have ended.
func (m *Manager) Close() {
	m.mu.Lock()
	m.closed = true
	for _, s := range m.sockets {
		s.close()
	}
	list := chains(m.current)
	for c, t := range m.drains {
		t.Stop()
		list[c] = true
	}
	m.mu.Unlock()
	for c := range list {
		c.Close(stream.Reason{Code: stream.Draining, Detail: "the proxy ends"})
	}
	m.wg.Wait()
}
