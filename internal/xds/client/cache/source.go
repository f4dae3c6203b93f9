package cache

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// Live is the source of configuration while the control plane is there.
// *client.Client is one.
type Live interface {
	Run(ctx context.Context, h client.Handler) error
	Subscribe(typeURL string, names ...string)
	Unsubscribe(typeURL string, names ...string)
	Seed(typeURL string, versions map[string]string)
}

// Source is a source of configuration that falls back to what a Store has kept, when
// the control plane has not answered in time. It records what comes. It is one proxy's;
// its methods are safe for concurrent use.
type Source struct {
	live  Live
	store *Store
	after time.Duration
	order []string
	log   *slog.Logger

	feed sync.Mutex // held while the proxy takes resources

	wake chan struct{} // one slot: there is something in late

	mu     sync.Mutex
	wanted map[string]map[string]bool // guarded by mu
	heard  bool                       // guarded by mu: the control plane has answered
	kept   Set                        // guarded by mu: serves until then; nil: it does not
	late   map[string][]string        // guarded by mu: names asked for since kept serves, by type
}

// NewSource makes a source. after is how long the control plane has before kept
// configuration is taken; negative: it has all the time. order lists the types in the
// order in which a proxy needs them; resources of others are not taken from the cache.
func NewSource(live Live, store *Store, after time.Duration, order []string, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{live: live, store: store, after: after, order: order, log: log, wanted: map[string]map[string]bool{}, wake: make(chan struct{}, 1)}
}

// Subscribe asks for resources by name.
func (s *Source) Subscribe(typeURL string, names ...string) {
	s.mu.Lock()
	m := s.wanted[typeURL]
	if m == nil {
		m = map[string]bool{}
		s.wanted[typeURL] = m
	}
	for _, n := range names {
		m[n] = true
	}
	if s.kept != nil {
		s.late[typeURL] = append(s.late[typeURL], names...)
	}
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	s.live.Subscribe(typeURL, names...)
}

// Unsubscribe ends the interest in resources.
func (s *Source) Unsubscribe(typeURL string, names ...string) {
	s.mu.Lock()
	for _, n := range names {
		delete(s.wanted[typeURL], n)
	}
	s.mu.Unlock()
	s.store.Record(typeURL, nil, names)
	s.live.Unsubscribe(typeURL, names...)
}

// Run hands resources to h until ctx ends.
func (s *Source) Run(ctx context.Context, h client.Handler) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() { s.store.Run(ctx) })
	if s.after >= 0 {
		wg.Go(func() { s.fallBack(ctx, h) })
	}
	return s.live.Run(ctx, client.HandlerFunc(func(ctx context.Context, typeURL string, added []client.Resource, removed []string) map[string]error {
		s.feed.Lock()
		defer s.feed.Unlock()
		s.mu.Lock()
		s.heard, s.kept, s.late = true, nil, nil
		s.mu.Unlock()
		return s.take(ctx, h, typeURL, added, removed)
	}))
}

// take hands resources on, and records those that are accepted.
func (s *Source) take(ctx context.Context, h client.Handler, typeURL string, added []client.Resource, removed []string) map[string]error {
	rejected := h.Update(ctx, typeURL, added, removed)
	good := slices.DeleteFunc(slices.Clone(added), func(r client.Resource) bool { return rejected[r.Name] != nil })
	s.store.Record(typeURL, good, removed)
	return rejected
}

// fallBack takes the kept configuration if the control plane does not answer.
func (s *Source) fallBack(ctx context.Context, h client.Handler) {
	select {
	case <-time.After(s.after):
	case <-ctx.Done():
		return
	}
	if s.start(ctx, h) {
		s.answerLate(ctx, h)
	}
}

// start hands over what is kept of what the proxy has asked for, and reports whether
// there was anything to do so.
func (s *Source) start(ctx context.Context, h client.Handler) bool {
	s.feed.Lock()
	defer s.feed.Unlock()
	s.mu.Lock()
	heard := s.heard
	s.mu.Unlock()
	if heard {
		return false
	}
	set, err := s.store.Load()
	if err != nil {
		s.log.Warn("kept configuration is not used", "err", err)
	}
	if len(set) == 0 {
		s.log.Info("the control plane does not answer, and there is no kept configuration: waiting", "after", s.after)
		return false
	}
	taken := 0
	for _, typeURL := range s.order {
		s.mu.Lock()
		wanted := maps.Clone(s.wanted[typeURL])
		s.mu.Unlock()
		taken += s.replay(ctx, h, typeURL, set[typeURL], wanted)
	}
	s.mu.Lock()
	s.kept, s.late = set, map[string][]string{}
	s.mu.Unlock()
	s.log.Warn("the control plane does not answer: started with the kept configuration", "after", s.after, "resources", taken)
	return true
}

// answerLate hands over kept resources that are asked for later, until the control
// plane answers.
func (s *Source) answerLate(ctx context.Context, h client.Handler) {
	for {
		select {
		case <-s.wake:
		case <-ctx.Done():
			return
		}
		s.feed.Lock()
		s.mu.Lock()
		kept, late := s.kept, s.late
		if kept != nil {
			s.late = map[string][]string{}
		}
		s.mu.Unlock()
		for typeURL, names := range late {
			wanted := map[string]bool{}
			for _, n := range names {
				wanted[n] = true
			}
			if slices.Contains(s.order, typeURL) {
				s.replay(ctx, h, typeURL, kept[typeURL], wanted)
			}
		}
		s.feed.Unlock()
		if kept == nil {
			return
		}
	}
}

// replay hands over the kept resources of a type that are wanted, and tells the
// server-to-be of them. What was asked for by name and is not kept did not exist, as
// far as is known: saying so keeps the proxy from waiting for it.
func (s *Source) replay(ctx context.Context, h client.Handler, typeURL string, kept map[string]client.Resource, wanted map[string]bool) int {
	if len(wanted) == 0 {
		return 0
	}
	var list []client.Resource
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		if wanted[client.Wildcard] || wanted[name] {
			list = append(list, kept[name])
		}
	}
	var missing []string
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		if _, ok := kept[name]; !ok && name != client.Wildcard {
			missing = append(missing, name)
		}
	}
	if len(list)+len(missing) == 0 {
		return 0
	}
	rejected := s.take(ctx, h, typeURL, list, missing)
	versions := map[string]string{}
	for _, r := range list {
		if why := rejected[r.Name]; why != nil {
			s.log.Warn("kept resource refused", "type", typeURL, "name", r.Name, "err", why)
			continue
		}
		versions[r.Name] = r.Version
	}
	s.live.Seed(typeURL, versions)
	return len(versions)
}
