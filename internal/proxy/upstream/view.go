package upstream

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/balance"
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// view is one version of a cluster in force: configuration, endpoints and the
// picker over them. It is immutable.
type view struct {
	cfg       *config.Cluster
	endpoints *config.Endpoints // nil for ORIGINAL_DST
	picker    *balance.Picker   // nil for ORIGINAL_DST
	targets   []*target
	links     links
	starting  bool // a host is in its slow start: the view is made again soon
}

// anyAddr reports that endpoints are where clients meant to go.
func (v *view) anyAddr() bool { return v.cfg.Type == config.ClusterOriginalDst }

// uses reports whether the view's requests may use connections of the pool.
func (v *view) uses(p *pool) bool { return v.links.has(p.link) && speaks(v.cfg, p.wish.speak) }

// warmth is the share of its weight that a host gets in slow start.
func (v *view) warmth(x *host, now time.Time) float64 {
	s := v.cfg.SlowStart
	if s == nil {
		return 0
	}
	if x.since.IsZero() {
		x.since = now
	}
	age := now.Sub(x.since)
	if age >= s.Window {
		return 0
	}
	v.starting = true
	return balance.Warmth(s, age)
}

// link is a way to speak to endpoints: plain text, or TLS in one context. Pooled
// connections belong to their link.
type link struct {
	cfg *config.UpstreamTLS // nil: plain text
	tls *tlsctx.Client
	// mesh: its protocols are the mesh's, so that a request may replace them.
	mesh bool
}

// links are the links of a cluster: the matches in order, then the default.
type links struct {
	matches []linkMatch
	normal  *link
}

type linkMatch struct {
	match map[string]string
	link  *link
}

// plain is the link without TLS.
var plain = &link{}

// newLinks makes the links of a cluster; contexts of equal configuration are
// taken over from old, with their sessions and pooled connections.
func newLinks(cfg *config.Cluster, old *links, o *Options) (links, error) {
	var ls links
	var errs []error
	get := func(t *config.UpstreamTLS, what string) *link {
		if t == nil {
			return plain
		}
		if l := old.find(t); l != nil {
			return l
		}
		client, err := tlsctx.NewClient(t, o.Secrets, o.Now)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
			return nil
		}
		return &link{cfg: t, tls: client, mesh: slices.Contains(t.Common.ALPN, "istio")}
	}
	for _, m := range cfg.TLSMatches {
		ls.matches = append(ls.matches, linkMatch{m.Match, get(m.TLS, "transport socket match "+m.Name)})
	}
	ls.normal = get(cfg.TLS, "transport socket")
	return ls, errors.Join(errs...)
}

func (ls *links) find(t *config.UpstreamTLS) *link {
	if ls == nil {
		return nil
	}
	for _, m := range ls.matches {
		if m.link.cfg != nil && reflect.DeepEqual(m.link.cfg, t) {
			return m.link
		}
	}
	if ls.normal != nil && ls.normal.cfg != nil && reflect.DeepEqual(ls.normal.cfg, t) {
		return ls.normal
	}
	return nil
}

// choose picks the link for an endpoint's envoy.transport_socket_match metadata.
func (ls *links) choose(meta map[string]string) *link {
	for _, m := range ls.matches {
		if covers(m.match, meta) {
			return m.link
		}
	}
	return ls.normal
}

// has reports whether the view may still use the link.
func (ls *links) has(l *link) bool {
	for _, m := range ls.matches {
		if m.link == l {
			return true
		}
	}
	return ls.normal == l
}

func covers(match, meta map[string]string) bool {
	for k, v := range match {
		if meta[k] != v {
			return false
		}
	}
	return true
}

// fill makes the targets and the picker over the endpoints. find gives the
// run-time state of an endpoint.
func (v *view) fill(find func(netip.AddrPort) *host, now time.Time) error {
	if v.cfg.Type == config.ClusterOriginalDst {
		return nil
	}
	var hosts []balance.Host
	var over uint32
	if v.endpoints != nil {
		over = v.endpoints.Overprovisioning
		for i := range v.endpoints.Localities {
			loc := &v.endpoints.Localities[i]
			for _, ep := range loc.Endpoints {
				t := &target{host: find(ep.Addr), endpoint: ep, link: v.links.choose(ep.SocketMatch)}
				v.targets = append(v.targets, t)
				hosts = append(hosts, balance.Host{
					Endpoint: ep, Priority: loc.Priority, Load: t, Ejected: t.host.out.ejected.Load(),
					Warmth: v.warmth(t.host, now), Place: i, PlaceWeight: loc.Weight,
				})
			}
		}
	}
	p, err := balance.New(v.cfg, hosts, over)
	if err != nil {
		return fmt.Errorf("load balancing: %w", err)
	}
	v.picker = p
	return nil
}
