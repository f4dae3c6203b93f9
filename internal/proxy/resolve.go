package proxy

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// Lookup implements upstream.Resolver. The system does not tell how long an
// answer lasts; the cluster's own refresh rate holds.
func (systemResolver) Lookup(ctx context.Context, host string) ([]netip.Addr, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	return addrs, 0, err
}

// Ejected implements upstream.Observer.
func (c clusterObserver) Ejected(cluster string, endpoint netip.AddrPort, out bool, why string) {
	if out {
		c.p.log.Info("endpoint ejected", "cluster", cluster, "endpoint", endpoint, "why", why)
	} else {
		c.p.log.Info("endpoint brought back", "cluster", cluster, "endpoint", endpoint)
	}
}
