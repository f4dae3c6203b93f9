package netns

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/lateen-mesh/lateen/internal/intercept"
)

// Config are the address ranges of a mesh. Both are IPv4.
type Config struct {
	Pods     netip.Prefix // default 10.244.0.0/16; the first address is the hub's
	Services netip.Prefix // default 10.96.0.0/16, virtual addresses only
}

// WithDefaults fills in what is not set.
func (c Config) WithDefaults() Config {
	if !c.Pods.IsValid() {
		c.Pods = netip.MustParsePrefix("10.244.0.0/16")
	}
	if !c.Services.IsValid() {
		c.Services = netip.MustParsePrefix("10.96.0.0/16")
	}
	c.Pods, c.Services = c.Pods.Masked(), c.Services.Masked()
	return c
}

func (c Config) check() error {
	switch {
	case !c.Pods.Addr().Is4() || !c.Services.Addr().Is4():
		return errors.New("the mesh's address ranges must be IPv4")
	case c.Pods.Overlaps(c.Services):
		return fmt.Errorf("the address ranges of pods (%s) and services (%s) overlap", c.Pods, c.Services)
	case c.Pods.Bits() > 29:
		return fmt.Errorf("the address range of pods (%s) is too small", c.Pods)
	}
	return nil
}

// bridgeName is the hub's bridge. It exists in the hub's namespace only.
const bridgeName = "lateen0"

// Network is the network of one mesh. Its methods are safe for concurrent use.
type Network struct {
	// immutable
	config Config
	hub    *intercept.Namespace
	relay  *Relay
	log    *slog.Logger

	services atomic.Pointer[func(netip.AddrPort) (netip.AddrPort, bool)] // nil before SetServices

	mu    sync.Mutex
	used  map[netip.Addr]bool // guarded by mu
	next  netip.Addr          // guarded by mu: where the search for a free address goes on
	links int                 // guarded by mu: numbers the links
}

// New makes the hub: a namespace with a bridge and the relay to the outside.
func New(c Config, log *slog.Logger) (*Network, error) {
	c = c.WithDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	hub, err := intercept.NewNamespace()
	if err != nil {
		return nil, Explain(err)
	}
	gateway := c.Pods.Addr().Next()
	n := &Network{config: c, hub: hub, log: log, used: map[netip.Addr]bool{gateway: true}, next: gateway.Next()}
	if err := n.open(gateway); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Network) open(gateway netip.Addr) error {
	err := n.hub.Do(func() error { return intercept.AddBridge(bridgeName, netip.PrefixFrom(gateway, n.config.Pods.Bits())) })
	if err != nil {
		return err
	}
	l, err := n.hub.Listen(netip.AddrPortFrom(gateway, 0))
	if err != nil {
		return fmt.Errorf("the relay to the outside: %w", err)
	}
	n.relay = startRelay(l, outbound{n}.dial, n.log)
	rules := intercept.RelayRules([]netip.Prefix{n.config.Pods}, n.relay.port())
	return n.hub.Do(func() error { return intercept.Apply(rules) })
}

// Config gives the address ranges.
func (n *Network) Config() Config { return n.config }

// Gateway is the hub's address: every workload's default route, and what their
// resolv.conf names.
func (n *Network) Gateway() netip.Addr { return n.config.Pods.Addr().Next() }

func (n *Network) meshCIDRs() []netip.Prefix {
	return []netip.Prefix{n.config.Pods, n.config.Services}
}

// Place is a workload's namespace in the network.
type Place struct {
	Namespace *intercept.Namespace
	Addr      netip.Addr

	network *Network
	link    string // in the hub
}

// Add makes a namespace with an address, a default route and redirection; nil
// rules redirect nothing. What rules say of the workload's own address is
// replaced.
func (n *Network) Add(rules *intercept.Options) (*Place, error) {
	addr, link, err := n.take()
	if err != nil {
		return nil, err
	}
	ns, err := intercept.NewNamespace()
	if err != nil {
		n.give(addr)
		return nil, Explain(err)
	}
	p := &Place{Namespace: ns, Addr: addr, network: n, link: link}
	if err := p.set(rules); err != nil {
		return nil, errors.Join(fmt.Errorf("network of %s: %w", addr, err), p.Close())
	}
	return p, nil
}

func (p *Place) set(rules *intercept.Options) error {
	n := p.network
	err := n.hub.Do(func() error { return intercept.AddVeth(p.link, bridgeName, "eth0", p.Namespace) })
	if err != nil {
		p.link = ""
		return err
	}
	return p.Namespace.Do(func() error {
		if err := intercept.Address("eth0", netip.PrefixFrom(p.Addr, n.config.Pods.Bits()), n.Gateway()); err != nil {
			return err
		}
		if err := intercept.AllowLowPorts(); err != nil {
			return err
		}
		if rules == nil {
			return nil
		}
		own := *rules
		own.Local = p.Addr
		table := intercept.Rules(own)
		if err := intercept.Apply(table); err != nil {
			return err
		}
		return intercept.Verify(table)
	})
}

// Close takes the workload out of the network. Processes that were started in
// its namespace must be gone.
func (p *Place) Close() error {
	var err error
	if p.link != "" {
		err = p.network.hub.Do(func() error { return intercept.RemoveLink(p.link) })
		if errors.Is(err, intercept.ErrClosed) {
			err = nil // the hub went before, and the link with it
		}
	}
	p.network.give(p.Addr)
	return errors.Join(err, p.Namespace.Close())
}

// take gives a free address and the name of a new link. Addresses are handed out
// in turn, so that one that was given back is not soon another workload's.
func (n *Network) take() (netip.Addr, string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for a, tried := n.next, 0; tried < 1<<(32-n.config.Pods.Bits()); a, tried = a.Next(), tried+1 {
		if !n.config.Pods.Contains(a) || !n.config.Pods.Contains(a.Next()) { // the last one is the broadcast address
			a = n.Gateway()
		}
		if n.used[a] {
			continue
		}
		n.used[a] = true
		n.next = a.Next()
		n.links++
		return a, fmt.Sprintf("pod%d", n.links), nil
	}
	return netip.Addr{}, "", fmt.Errorf("no address is left in %s", n.config.Pods)
}

func (n *Network) give(a netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.used, a)
}

// Close takes the hub away. Places must be closed before.
func (n *Network) Close() error {
	if n.relay != nil {
		n.relay.Close()
	}
	return n.hub.Close()
}
