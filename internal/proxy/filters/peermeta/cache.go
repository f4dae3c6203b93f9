package peermeta

import (
	"maps"
	"sync"
	"sync/atomic"
)

// maxPeers bounds the cache: a workload has at most some hundred peers. A full
// cache starts anew.
const maxPeers = 1024

// cache remembers parsed metadata by the header's bytes. Reading takes no lock
// and allocates nothing.
type cache struct {
	mu   sync.Mutex // serialises writers
	view atomic.Pointer[map[string]*Peer]
}

// get parses value, or gives what was parsed before; nil for what is no metadata.
func (c *cache) get(id, value []byte) *Peer {
	if m := c.view.Load(); m != nil {
		if p, ok := (*m)[string(value)]; ok {
			return p
		}
	}
	p, err := ParseHeader(value)
	if err != nil {
		// A foreign value names nobody; remembering it would let clients fill
		// the cache with garbage.
		return nil
	}
	p.ID = string(id)
	c.mu.Lock()
	defer c.mu.Unlock()
	next := map[string]*Peer{}
	if m := c.view.Load(); m != nil && len(*m) < maxPeers {
		next = maps.Clone(*m)
	}
	next[string(value)] = p
	c.view.Store(&next)
	return p
}
