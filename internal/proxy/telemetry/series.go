package telemetry

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Bounds of what requests can make grow.
const (
	maxSeries   = 2048 // label sets of HTTP, and as many of TCP; later ones share one, "overflow"
	maxChildren = 2048 // resolved series in the cache; a full one starts anew
	maxHosts    = 256  // hosts as destination_service that only requests name
)

// overflowValue is every label of the series that stands for those beyond
// maxSeries.
const overflowValue = "overflow"

// childKey tells series apart by what they come from. Comparing pointers of
// configuration nodes is cheap; a node that is gone is only a stale entry until
// the cache starts anew. Its strings are copies or configuration, never views into
// a connection's buffers.
type childKey struct {
	dir               stream.Direction
	code              stream.Code
	notes             stream.Notes
	mutual            bool
	grpc              int16 // status; notGRPC or noGRPCStatus
	status            int32
	cluster           *config.Cluster
	peer              *peermeta.Peer
	endpoint          *config.Endpoint
	peerURI, localURI string
	name              string // of the cluster, where its node is not known
	host              string // where neither tells the service
}

// childCache finds children without a lock, but for those that are new: view is
// never written to, fresh is a copy of it with what came since, and takes its
// place when it was asked for as often as a copy costs.
type childCache struct {
	view atomic.Pointer[map[childKey]*child]

	mu     sync.Mutex
	fresh  map[childKey]*child // guarded by mu; nil: nothing came since
	misses int                 // guarded by mu: look-ups that only fresh could answer
}

func (c *childCache) get(k childKey) *child {
	if v := c.view.Load(); v != nil {
		if x := (*v)[k]; x != nil {
			return x
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	x := c.fresh[k]
	if x != nil {
		if c.misses++; c.misses >= len(c.fresh) {
			c.promote()
		}
	}
	return x
}

// promote is called with mu held.
func (c *childCache) promote() {
	next := c.fresh
	c.view.Store(&next)
	c.fresh, c.misses = nil, 0
}

func (c *childCache) put(k childKey, x *child) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fresh == nil {
		c.fresh = map[childKey]*child{}
		if v := c.view.Load(); v != nil {
			maps.Copy(c.fresh, *v)
		}
	}
	if len(c.fresh) >= maxChildren {
		c.view.Store(nil)
		clear(c.fresh)
		c.misses = 0
	}
	c.fresh[k] = x
}

// size is the number of children.
func (c *childCache) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v := c.view.Load(); v != nil {
		return max(len(*v), len(c.fresh))
	}
	return len(c.fresh)
}

func (c *childCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view.Store(nil)
	c.fresh, c.misses = nil, 0
}

// interned makes label values of hosts that requests name, for a bounded number
// of them. Looking up takes no lock.
type interned struct {
	view atomic.Pointer[map[string]string]
	mu   sync.Mutex // serialises writers
}

func (x *interned) get(b []byte) string {
	if v := x.view.Load(); v != nil {
		if s, ok := (*v)[string(b)]; ok {
			return s
		}
		if len(*v) >= maxHosts {
			return unknown
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	next := map[string]string{}
	if v := x.view.Load(); v != nil {
		if len(*v) >= maxHosts {
			return unknown
		}
		next = maps.Clone(*v)
	}
	s := string(b)
	next[s] = s
	x.view.Store(&next)
	return s
}

// When label sets are given up: beyond the bound, those without use for idleFor are
// looked for every sweepEvery.
const (
	idleFor    = 10 * time.Minute
	sweepEvery = time.Minute
)

// labelSet is one admitted set of labels.
type labelSet struct {
	labels []string    // immutable
	used   atomic.Bool // since the last sweep

	seen  time.Time // guarded by series.mu: the last sweep that found it used
	holds int       // guarded by series.mu: open connections that it counts
}

// use marks the set. What is marked already is not written to again, so that
// requests on several processors share it.
func (l *labelSet) use() {
	if !l.used.Load() {
		l.used.Store(true)
	}
}

// series bounds the label sets of a group of metrics.
type series struct {
	next atomic.Int64 // when to sweep, if there is cause; Unix time in nanoseconds

	mu  sync.Mutex
	all map[string]*labelSet // guarded by mu
}

// admit returns the set of the labels while there is room for its series, or if it is
// there already; else, and ok is false, that of the series for all others. It is
// marked as used: it stays for idleFor at least.
func (s *series) admit(labels []string) (l *labelSet, ok bool) {
	key := strings.Join(labels, "\xff")
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.all[key]; l != nil {
		l.use()
		return l, true
	}
	if len(s.all) >= maxSeries {
		return &labelSet{labels: slices.Repeat([]string{overflowValue}, len(labels))}, false
	}
	if s.all == nil {
		s.all = map[string]*labelSet{}
	}
	l = &labelSet{labels: labels, seen: time.Now()}
	l.use()
	s.all[key] = l
	return l, true
}

// hold keeps a set while n, the sum of all calls, is above 0.
func (s *series) hold(l *labelSet, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.holds += n
}

// sweep is called when there was no room for a set. It gives up those that are idle,
// and tells forget their labels; it reports whether there were any.
func (s *series) sweep(forget func(labels []string)) bool {
	now := time.Now()
	if next := s.next.Load(); now.UnixNano() < next || !s.next.CompareAndSwap(next, now.Add(sweepEvery).UnixNano()) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.all)
	maps.DeleteFunc(s.all, func(_ string, l *labelSet) bool {
		if l.used.Swap(false) || l.holds > 0 {
			l.seen = now
		}
		idle := now.Sub(l.seen) > idleFor
		if idle {
			forget(l.labels)
		}
		return idle
	})
	return len(s.all) < before
}
