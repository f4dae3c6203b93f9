package upstream

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// host is the run-time state of one endpoint of one cluster. It outlives the
// configuration that names the endpoint until its last connection has ended.
type host struct {
	// immutable
	addr    netip.AddrPort
	cluster *Handle

	stats  HostStats
	active atomic.Uint32 // requests under way
	out    outlierCounts

	since time.Time // guarded by cluster.build: slow start began; zero in clusters without

	// guarded by cluster.mu
	conns    map[*conn]struct{}
	idle     []*conn // the last one was used last
	dialing  int     // connections being made
	removed  bool    // no view names it any more
	original *target // of ORIGINAL_DST clusters
}

// target is an endpoint within one view: how to reach it. It is what the
// balancer's hosts carry as their load.
type target struct {
	host     *host
	endpoint *config.Endpoint
	link     *link
}

// Active implements balance.Load.
func (t *target) Active() uint32 { return t.host.active.Load() }

// EndpointInfo describes an endpoint and whether it is in use.
type EndpointInfo struct {
	*config.Endpoint
	Region, Zone, Subzone string
	Priority              uint32
	Ejected               bool
	Draining              bool // removed from the cluster; its connections finish
}

// used reports whether anything hangs on the host. Called with cluster.mu held.
func (h *host) used() bool { return len(h.conns) > 0 || h.dialing > 0 || h.active.Load() > 0 }

// takeIdle removes and returns the idle connection used last that fits, nil if
// there is none. Called with cluster.mu held.
func (h *host) takeIdle(l *link, w wish) *conn {
	for i := len(h.idle) - 1; i >= 0; i-- {
		c := h.idle[i]
		if c.link != l || !c.wish.equal(w) {
			continue
		}
		h.dropIdle(i)
		return c
	}
	return nil
}

func (h *host) dropIdle(i int) {
	h.idle[i].idle = false
	copy(h.idle[i:], h.idle[i+1:])
	h.idle[len(h.idle)-1] = nil
	h.idle = h.idle[:len(h.idle)-1]
}

// forgetIdle takes c off the idle list if it is there.
func (h *host) forgetIdle(c *conn) bool {
	for i := range h.idle {
		if h.idle[i] == c {
			h.dropIdle(i)
			return true
		}
	}
	return false
}

// wish is what a request wants of a TLS connection. Connections are shared by
// requests with equal wishes.
type wish struct {
	alpn []string // nil: the link's
	sni  string   // with auto_sni: the request's host
}

// wishOf gives what s wants of connections over l.
func wishOf(s *stream.Stream, l *link) wish {
	if l.tls == nil {
		return wish{}
	}
	var w wish
	if l.mesh {
		w.alpn = s.UpstreamALPN
	}
	if l.cfg.AutoSNI && l.cfg.SNI == "" {
		w.sni = hostOf(s.Request.Authority)
	}
	return w
}

// hostOf gives the host of an authority; "" for an address, which SNI must not
// carry (RFC 6066 §3).
func hostOf(authority []byte) string {
	host := string(authority)
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ""
	}
	return strings.ToLower(host)
}

func (a wish) equal(b wish) bool {
	if a.sni != b.sni || len(a.alpn) != len(b.alpn) {
		return false
	}
	if len(a.alpn) > 0 && &a.alpn[0] == &b.alpn[0] {
		return true
	}
	return slices.Equal(a.alpn, b.alpn)
}
