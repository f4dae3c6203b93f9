package upstream

import (
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
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
	pools    []*pool
	single   *link   // over which it negotiated HTTP/1.1 last
	carries  int     // requests that its HTTP/2 connections carry at once, as it told last; 0: never
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
func (x *host) used() bool { return len(x.pools) > 0 || x.active.Load() > 0 }
