package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"

	"github.com/lateen-mesh/lateen/internal/dns"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// dnsPort is where questions for names are redirected to.
const dnsPort = "15053"

// names answers the workload's questions for names.
type names struct {
	table   *dns.Table
	server  *dns.Server
	sockets []dns.Sockets // opened by listen, closed by run

	mu     sync.Mutex
	tables map[string]wire.NameTable // guarded by mu: by resource
}

func newNames(namespace string, log *slog.Logger) *names {
	n := &names{table: dns.NewTable(), tables: map[string]wire.NameTable{}}
	search, domain, err := dns.Search("")
	if err != nil || domain == "" {
		search = nil // Kubernetes' own, as far as can be known
	}
	n.server = dns.New(dns.Options{Table: n.table, Namespace: namespace, Domain: domain, Search: search, Partial: true, Log: log})
	return n
}

func (n *names) listen() (err error) {
	n.sockets, err = dns.ListenLoopback(dnsPort)
	return err
}

// run serves until ctx ends.
func (n *names) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, len(n.sockets))
	for _, s := range n.sockets {
		go func() { // ends with ctx
			ended <- n.server.Serve(ctx, s.UDP, s.TCP)
		}()
	}
	var first error
	for range n.sockets {
		if err := <-ended; err != nil && first == nil {
			first = err
			cancel()
		}
	}
	return first
}

func (n *names) close() {
	for _, s := range n.sockets {
		_ = s.Close() // closed by its server already, mostly
	}
}

// update takes name tables; what does not parse leaves what there was.
func (n *names) update(added []client.Resource, removed []string) map[string]error {
	n.mu.Lock()
	defer n.mu.Unlock()
	rejected := map[string]error{}
	for _, r := range added {
		t, err := wire.UnmarshalNameTable(r.Body)
		if err != nil {
			rejected[r.Name] = err
			continue
		}
		n.tables[r.Name] = t
	}
	for _, name := range removed {
		delete(n.tables, name)
	}
	hosts := map[string][]netip.Addr{}
	for _, r := range slices.Sorted(maps.Keys(n.tables)) {
		for host, name := range n.tables[r] {
			hosts[host] = name.Addrs
		}
	}
	n.table.Set(hosts)
	return rejected
}

// Feed is a source of resources, as proxies know it.
type Feed interface {
	Run(ctx context.Context, h client.Handler) error
	Subscribe(typeURL string, names ...string)
	Unsubscribe(typeURL string, names ...string)
}

// WithNames takes the name tables out of a feed; the rest is the proxy's. Where
// questions are not redirected, it is the feed itself.
func (s *Sidecar) WithNames(f Feed) Feed {
	if s.names == nil {
		return f
	}
	return &namesFeed{f, s.names}
}

type namesFeed struct {
	Feed
	names *names
}

// Run implements Feed.
func (f *namesFeed) Run(ctx context.Context, h client.Handler) error {
	f.Subscribe(wire.NameTableType, client.Wildcard)
	return f.Feed.Run(ctx, client.HandlerFunc(func(ctx context.Context, typeURL string, added []client.Resource, removed []string) map[string]error {
		if typeURL == wire.NameTableType {
			return f.names.update(added, removed)
		}
		return h.Update(ctx, typeURL, added, removed)
	}))
}

// CapturesNames reports whether the control plane is asked for name tables.
func (s *Sidecar) CapturesNames() bool { return s.names != nil }

// UpdateNames takes name tables that came another way.
func (s *Sidecar) UpdateNames(added []client.Resource, removed []string) error {
	for name, err := range s.names.update(added, removed) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
