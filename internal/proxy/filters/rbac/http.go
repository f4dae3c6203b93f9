package rbac

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

type builder struct{ stats *Stats }

// NewBuilder makes the builder of envoy.filters.http.rbac; its filters count in
// stats.
func NewBuilder(stats *Stats) config.FilterBuilder { return &builder{stats} }

// Name implements config.FilterBuilder.
func (b *builder) Name() string { return Name }

// TypeURLs implements config.FilterBuilder.
func (b *builder) TypeURLs() []string { return []string{config.HTTPRBACURL} }

// Repeatable implements config.Repeatable: rules that deny and rules that allow
// are filters of their own.
func (b *builder) Repeatable() bool { return true }

// Parse implements config.FilterBuilder.
func (b *builder) Parse(_ string, value []byte) (any, error) {
	a, err := config.ParseHTTPAccess(value)
	if err != nil {
		return nil, err
	}
	return newGuard(a, b.stats, "http"), nil
}

// ParseOverride implements config.FilterBuilder: a route's rules replace those of
// the filter.
func (b *builder) ParseOverride(url string, value []byte) (any, error) {
	if url != config.HTTPRBACPerRouteURL {
		return nil, fmt.Errorf("%s: a route's own configuration has type %s, not %s", Name, config.HTTPRBACPerRouteURL, url)
	}
	a, err := config.ParseHTTPAccessPerRoute(value)
	if err != nil {
		return nil, err
	}
	return newGuard(a, b.stats, "http"), nil
}

// New implements config.FilterBuilder.
func (b *builder) New(cfg any, slot int) (stream.Filter, error) {
	g, ok := cfg.(*guard)
	if !ok {
		return nil, fmt.Errorf("%s: configuration of type %T", Name, cfg)
	}
	return &filter{base: g, slot: slot}, nil
}

type filter struct {
	base *guard
	slot int
}

// Handle implements stream.Filter: it answers what is denied.
func (f *filter) Handle(s *stream.Stream, next stream.Next) (*stream.Response, error) {
	g := f.base
	if s.Route != nil {
		if o, ok := s.Route.Override(f.slot).(*guard); ok {
			g = o
		}
	}
	if by, ok := g.check(s); !ok {
		return nil, g.replies[by]
	}
	return next.Handle(s)
}

var (
	_ config.FilterBuilder = (*builder)(nil)
	_ config.Repeatable    = (*builder)(nil)
)
