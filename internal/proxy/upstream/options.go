package upstream

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/timer"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// Options is what a Manager works with. Sockets (or Dial) must be set; the rest
// has defaults.
type Options struct {
	Sockets  rawio.Sockets
	Watch    *rawio.Watch   // tells of idle connections that the peer closed; nil: found out when they are used
	Secrets  tlsctx.Secrets // nil: only inline certificates
	Resolver Resolver       // nil: DNS clusters stay without endpoints, with a reason
	Timer    *timer.Queue   // nil: one of its own
	Log      *slog.Logger   // nil: slog.Default
	Now      func() time.Time
	Rand     func() uint64 // nil: math/rand/v2
	Observer Observer      // nil: nobody is told
	// UnlimitedRetries leaves retries unlimited where a cluster says nothing, as Istio
	// does; else a budget of a fifth of the requests under way, and at least ten, holds.
	UnlimitedRetries bool
	// Dial makes a connected transport; nil dials with Sockets. Tests use pipes.
	Dial func(ctx context.Context, d Dialing) (rawio.Transport, error)
	// Handshakes bounds how many TLS handshakes compute at once; 0: GOMAXPROCS.
	Handshakes int
}

// Dialing is one connection to make.
type Dialing struct {
	Remote    netip.AddrPort
	Local     netip.Addr // source address; invalid: any
	KeepAlive *config.KeepAlive
}

// Resolver finds the addresses of a host. ttl is how long they may be kept; 0
// takes the default of 5 s (Envoy's dns_refresh_rate).
type Resolver interface {
	Lookup(ctx context.Context, host string) (addrs []netip.Addr, ttl time.Duration, err error)
}

// Observer is told of what happens to clusters. Methods are called without locks
// held, must not block, and may be called from any goroutine.
type Observer interface {
	// ClusterReady is called when a cluster's newest version came into force.
	ClusterReady(name string)
	// Ejected is called when outlier detection took an endpoint out, and when it
	// brought it back (out is false).
	Ejected(cluster string, endpoint netip.AddrPort, out bool, why string)
}

func (o Options) withDefaults() Options {
	if o.Timer == nil {
		o.Timer = timer.NewQueue(0)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	if o.Observer == nil {
		o.Observer = nobody{}
	}
	return o
}

type nobody struct{}

func (nobody) ClusterReady(string)                          {}
func (nobody) Ejected(string, netip.AddrPort, bool, string) {}
