package rbac

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// Stats are the counters of all access filters of a proxy. The zero value is
// ready. Safe for concurrent use.
type Stats struct {
	mu   sync.Mutex
	byID map[string]*atomic.Uint64 // guarded by mu; never shrinks: the prefixes are few
}

// counters are those of one filter. Filters with the same prefixes share them.
type counters struct{ allowed, denied, shadowAllowed, shadowDenied *atomic.Uint64 }

// counters gives a filter's counters under Envoy's names without the prefix of
// the connection manager: "http.rbac.istio_dry_run_allow_shadow_denied". A network
// filter's begin with its own: "tcp.rbac.allowed".
func (s *Stats) counters(kind string, a *config.Access) *counters {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix := kind + ".rbac."
	if a.StatPrefix != "" {
		prefix = a.StatPrefix + "rbac."
	}
	return &counters{
		allowed: s.get(prefix + a.RulesPrefix + "allowed"), denied: s.get(prefix + a.RulesPrefix + "denied"),
		shadowAllowed: s.get(prefix + a.ShadowPrefix + "shadow_allowed"), shadowDenied: s.get(prefix + a.ShadowPrefix + "shadow_denied"),
	}
}

// get is called with mu held.
func (s *Stats) get(name string) *atomic.Uint64 {
	c := s.byID[name]
	if c == nil {
		if s.byID == nil {
			s.byID = map[string]*atomic.Uint64{}
		}
		c = new(atomic.Uint64)
		s.byID[name] = c
	}
	return c
}

// All yields the counters by name, sorted.
func (s *Stats) All() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		s.mu.Lock()
		byID := maps.Clone(s.byID)
		s.mu.Unlock()
		for _, name := range slices.Sorted(maps.Keys(byID)) {
			if !yield(name, byID[name].Load()) {
				return
			}
		}
	}
}
