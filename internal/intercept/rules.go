package intercept

import "net/netip"

// Mark is the socket mark of a proxy's own traffic, which the rules let pass
// (Istio's value).
const Mark = 1337

// Options say what is redirected. The zero value redirects everything to the
// standard ports.
type Options struct {
	OutboundPort, InboundPort uint16 // default 15001, 15006
	DNSPort                   uint16 // default 15053; redirect port 53 there
	NoDNS                     bool
	// DNSOnly redirects names and nothing else: a workload without a proxy.
	DNSOnly bool
	// Local is the workload's own address: the proxy's calls to it come in as calls
	// from elsewhere do.
	Local netip.Addr
	// ExcludeInbound are ports that reach the application directly, besides the
	// proxy's own.
	ExcludeInbound []uint16
	// ExcludeOutbound are destination ports, ExcludeCIDRs destinations, that the
	// application reaches directly.
	ExcludeOutbound []uint16
	ExcludeCIDRs    []netip.Prefix
	// IncludeInbound and IncludeCIDRs, where they name anything, are all that is
	// redirected; what is excluded stays so.
	IncludeInbound []uint16
	IncludeCIDRs   []netip.Prefix
}

// proxyPorts belong to the proxy: who calls them means the proxy.
var proxyPorts = []uint16{15000, 15001, 15006, 15020, 15021, 15053, 15090}

func (o Options) withDefaults() Options {
	if o.OutboundPort == 0 {
		o.OutboundPort = 15001
	}
	if o.InboundPort == 0 {
		o.InboundPort = 15006
	}
	if o.DNSPort == 0 {
		o.DNSPort = 15053
	}
	return o
}

const tableName = "lateen"

var (
	loopback   = netip.MustParsePrefix("127.0.0.0/8")
	passSource = netip.MustParsePrefix("127.0.0.6/32") // source of a proxy's calls to its own application
)

// Rules gives the table for a workload's namespace.
func Rules(o Options) Table {
	o = o.withDefaults()
	out := Chain{Name: "output", Hook: Output}
	add := func(c *Chain, r ...Rule) { c.Rules = append(c.Rules, r...) }
	if o.Local.IsValid() {
		add(&out, Rule{Proto: TCP, Mark: Mark, Interface: "lo", Dest: netip.PrefixFrom(o.Local, o.Local.BitLen()), NotSource: passSource,
			Redirect: o.InboundPort, Explanation: "the proxy calls its own workload: as any caller"})
	}
	add(&out, Rule{Mark: Mark, Explanation: "the proxy's own traffic"})
	if !o.NoDNS {
		add(&out, Rule{Proto: UDP, DestPort: 53, Redirect: o.DNSPort, Explanation: "names"},
			Rule{Proto: TCP, DestPort: 53, Redirect: o.DNSPort, Explanation: "names"})
	}
	if o.DNSOnly {
		return Table{Name: tableName, Chains: []Chain{out}}
	}
	add(&out, Rule{Dest: loopback, Explanation: "inside the workload"})
	if o.Local.IsValid() {
		add(&out, Rule{Interface: "lo", Dest: netip.PrefixFrom(o.Local, o.Local.BitLen()), Explanation: "inside the workload"})
	}
	for _, p := range o.ExcludeOutbound {
		add(&out, Rule{Proto: TCP, DestPort: p, Explanation: "excluded port"})
	}
	for _, p := range o.ExcludeCIDRs {
		add(&out, Rule{Dest: p, Explanation: "excluded destination"})
	}
	for _, p := range o.IncludeCIDRs {
		add(&out, Rule{Proto: TCP, Dest: p, Redirect: o.OutboundPort, Explanation: "to the proxy"})
	}
	if len(o.IncludeCIDRs) == 0 {
		add(&out, Rule{Proto: TCP, Redirect: o.OutboundPort, Explanation: "to the proxy"})
	}

	in := Chain{Name: "prerouting", Hook: Prerouting}
	for _, p := range append(append([]uint16{}, proxyPorts...), o.ExcludeInbound...) {
		add(&in, Rule{Proto: TCP, DestPort: p, Explanation: "not the application's"})
	}
	for _, p := range o.IncludeInbound {
		add(&in, Rule{Proto: TCP, DestPort: p, Redirect: o.InboundPort, Explanation: "to the proxy"})
	}
	if len(o.IncludeInbound) == 0 {
		add(&in, Rule{Proto: TCP, Redirect: o.InboundPort, Explanation: "to the proxy"})
	}
	return Table{Name: tableName, Chains: []Chain{out, in}}
}

// RelayRules gives the table for the hub namespace: TCP that leaves the mesh goes
// to a relay that dials from the host.
func RelayRules(mesh []netip.Prefix, relay uint16) Table {
	c := Chain{Name: "prerouting", Hook: Prerouting}
	for _, p := range mesh {
		c.Rules = append(c.Rules, Rule{Dest: p, Explanation: "inside the mesh"})
	}
	c.Rules = append(c.Rules, Rule{Proto: TCP, Redirect: relay, Explanation: "to the outside"})
	return Table{Name: tableName, Chains: []Chain{c}}
}
