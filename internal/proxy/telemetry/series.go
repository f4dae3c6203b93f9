package telemetry

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

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

// series bounds the label sets of a group of metrics.
type series struct {
	mu   sync.Mutex
	seen map[string]struct{} // guarded by mu
}

// admit returns the labels as they are while there is room for their series, or if
// it is there already; else, and ok is false, those of the series for all others.
func (s *series) admit(labels []string) (_ []string, ok bool) {
	key := strings.Join(labels, "\xff")
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.seen[key]; there {
		return labels, true
	}
	if len(s.seen) >= maxSeries {
		out := make([]string, len(labels))
		for i := range out {
			out[i] = overflowValue
		}
		return out, false
	}
	if s.seen == nil {
		s.seen = map[string]struct{}{}
	}
	s.seen[key] = struct{}{}
	return labels, true
}
