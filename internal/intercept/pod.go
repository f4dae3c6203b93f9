package intercept

import (
	"net/netip"
	"slices"
)

// Mode is how inbound connections reach the proxy.
type Mode string

const (
	ModeRedirect Mode = "REDIRECT" // destination rewritten; the application sees the proxy's address
	ModeTProxy   Mode = "TPROXY"   // addresses kept (SidecarInterceptionMode TPROXY)
	ModeNone     Mode = "NONE"     // nothing is redirected; applications call the proxy's listeners themselves
)

// PodOptions say what is redirected in a pod's namespace. The meaning and order
// of the rules are those that Istio's init container installs; fields name the
// flag of `istio-iptables` that they come from.
type PodOptions struct {
	Mode         Mode   `json:"mode"`         // -m
	OutboundPort uint16 `json:"outboundPort"` // -p
	InboundPort  uint16 `json:"inboundPort"`  // -z
	TunnelPort   uint16 `json:"tunnelPort"`   // -e; never redirected
	DNSPort      uint16 `json:"dnsPort"`

	// UIDs and GIDs are the proxy's users and groups (-u, -g): their traffic passes.
	UIDs []uint32 `json:"uids"`
	GIDs []uint32 `json:"gids"`

	Inbound        PortSet  `json:"inbound"`                  // -b
	ExcludeInbound []uint16 `json:"excludeInbound,omitempty"` // -d; only where Inbound is all

	Outbound             PrefixSet      `json:"outbound"`                       // -i
	ExcludeOutbound      []netip.Prefix `json:"excludeOutbound,omitempty"`      // -x
	IncludeOutboundPorts []uint16       `json:"includeOutboundPorts,omitempty"` // -q
	ExcludeOutboundPorts []uint16       `json:"excludeOutboundPorts,omitempty"` // -o; TCP and UDP

	// RerouteInterfaces belong to virtual machines in the pod: what comes in from
	// them is outbound (-k).
	RerouteInterfaces []string `json:"rerouteInterfaces,omitempty"`
	ExcludeInterfaces []string `json:"excludeInterfaces,omitempty"` // -c

	// Groups bound whose traffic is redirected (ISTIO_OUTBOUND_OWNER_GROUPS and
	// _EXCLUDE).
	Groups GroupFilter `json:"groups"`

	CaptureDNS bool `json:"captureDNS,omitempty"` // --redirect-dns
	// Resolvers are the name servers whose traffic is redirected; none: all of port
	// 53 (--capture-all-dns).
	Resolvers []netip.Addr `json:"resolvers,omitempty"`

	DropInvalid bool         `json:"dropInvalid,omitempty"` // --drop-invalid
	Mark        uint32       `json:"mark"`                  // -t; for TPROXY
	RouteTable  int          `json:"routeTable"`            // -r; for TPROXY
	Loopback    netip.Prefix `json:"loopback"`              // ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR
}

// PortSet is all ports or those listed.
type PortSet struct {
	All   bool     `json:"all,omitempty"`
	Ports []uint16 `json:"ports,omitempty"`
}

// PrefixSet is all addresses or those listed.
type PrefixSet struct {
	All      bool           `json:"all,omitempty"`
	Prefixes []netip.Prefix `json:"prefixes,omitempty"`
}

// GroupFilter selects processes by group: those listed, or all but those listed.
// The zero value selects none.
type GroupFilter struct {
	Except bool     `json:"except"`
	IDs    []uint32 `json:"ids,omitempty"`
}

// outboundMark tells the proxy's calls to its own pod from the application's, in
// TPROXY mode.
const outboundMark = 1338

// podRules collects the rules of one family.
type podRules struct {
	PodOptions
	family   Family
	loopback netip.Prefix // what is inside the pod
	pass     netip.Prefix // source of the proxy's calls to its own application
}

var (
	loopback6   = netip.MustParsePrefix("::1/128")
	passSource6 = netip.MustParsePrefix("::6/128")
)

// PodRules gives the tables for a pod's namespace, one for each address family.
// In mode NONE they are empty.
func PodRules(o PodOptions) Ruleset {
	return Ruleset{
		podRules{o, IPv4, o.Loopback, passSource}.table(),
		podRules{o, IPv6, loopback6, passSource6}.table(),
	}
}

func (p podRules) table() Table {
	t := Table{Name: tableName, Family: p.family}
	if p.Mode == ModeNone {
		return t
	}
	for _, c := range []Chain{
		{"raw-output", Raw, Output, p.rawOutput()},
		{"raw-prerouting", Raw, Prerouting, p.rawPrerouting()},
		{"mangle-prerouting", Mangle, Prerouting, p.manglePrerouting()},
		{"mangle-output", Mangle, Output, p.mangleOutput()},
		{"output", NAT, Output, p.natOutput()},
		{"prerouting", NAT, Prerouting, p.natPrerouting()},
	} {
		if len(c.Rules) > 0 {
			t.Chains = append(t.Chains, c)
		}
	}
	return t
}

// natOutput redirects what the application sends.
func (p podRules) natOutput() (rules []Rule) {
	add := func(r ...Rule) { rules = append(rules, r...) }
	for _, name := range p.ExcludeInterfaces {
		add(Rule{Interface: name, Explanation: "excluded interface"})
	}
	for _, port := range p.ExcludeOutboundPorts {
		add(Rule{Proto: TCP, DestPort: port, Explanation: "excluded port"},
			Rule{Proto: UDP, DestPort: port, Explanation: "excluded port"})
	}
	add(Rule{Interface: "lo", Source: p.pass, Explanation: "the proxy calls its own application"})
	if p.Mode == ModeRedirect {
		for _, o := range p.proxy() {
			add(Rule{Proto: TCP, Interface: "lo", NotDest: p.loopback, NotDestPorts: p.notInbound(), Owners: []Owner{o},
				Redirect: p.InboundPort, Explanation: "the proxy calls its own pod: as any caller"})
		}
	}
	add(p.insidePod()...)
	for _, o := range p.proxy() {
		add(Rule{Owners: []Owner{o}, Explanation: "the proxy's own traffic"})
	}
	add(p.otherGroups()...)
	for _, prefix := range p.ofFamily(p.ExcludeOutbound) {
		add(Rule{Dest: prefix, Explanation: "excluded destination"})
	}
	add(p.names(func(proto Proto, r Rule) Rule {
		r.Proto, r.DestPort, r.Redirect, r.Explanation = proto, 53, p.DNSPort, "names"
		return r
	}, UDP, TCP)...)
	add(Rule{Dest: p.loopback, Explanation: "inside the pod"})
	for _, port := range p.IncludeOutboundPorts {
		add(Rule{Proto: TCP, DestPort: port, Redirect: p.OutboundPort, Explanation: "included port: to the proxy"})
	}
	return append(rules, p.toOutbound(Rule{})...)
}

// proxy gives a condition for each user and group of the proxy.
func (p podRules) proxy() (owners []Owner) {
	for _, id := range p.UIDs {
		owners = append(owners, Owner{ID: id})
	}
	for _, id := range p.GIDs {
		owners = append(owners, Owner{Group: true, ID: id})
	}
	return owners
}

// notInbound are ports that the proxy's calls to its own pod reach directly.
// Names: the agent asks a name server that runs in the pod, not itself.
func (p podRules) notInbound() []uint16 {
	if p.CaptureDNS {
		return []uint16{53, p.TunnelPort}
	}
	return []uint16{p.TunnelPort}
}

// insidePod lets the application call itself by the pod's addresses and by
// loopback, unless a loopback range is to be redirected. Names are decided later:
// the name server may be in the pod.
func (p podRules) insidePod() []Rule {
	if slices.ContainsFunc(p.Outbound.Prefixes, func(p netip.Prefix) bool { return p.Addr().IsLoopback() }) {
		return nil
	}
	r := Rule{Interface: "lo", Explanation: "inside the pod"}
	for _, o := range p.proxy() {
		o.Not = true
		r.Owners = append(r.Owners, o)
	}
	if p.CaptureDNS {
		r.Proto, r.NotDestPorts = TCP, []uint16{53}
	}
	return []Rule{r}
}

// otherGroups lets the processes pass that the group filter does not select.
func (p podRules) otherGroups() (rules []Rule) {
	if p.Groups.Except {
		for _, id := range p.Groups.IDs {
			rules = append(rules, Rule{Owners: []Owner{{Group: true, ID: id}}, Explanation: "excluded group"})
		}
		return rules
	}
	r := Rule{Explanation: "not of an included group"}
	for _, id := range p.Groups.IDs {
		r.Owners = append(r.Owners, Owner{Group: true, Not: true, ID: id})
	}
	return []Rule{r}
}

// names gives the rules that f makes for each protocol and name server, if names
// are captured: f gets a rule with the destination set.
func (p podRules) names(f func(Proto, Rule) Rule, protos ...Proto) (rules []Rule) {
	if !p.CaptureDNS {
		return nil
	}
	for _, proto := range protos {
		if len(p.Resolvers) == 0 {
			rules = append(rules, f(proto, Rule{}))
		}
		for _, a := range p.Resolvers {
			if p.isOf(a) {
				rules = append(rules, f(proto, Rule{Dest: netip.PrefixFrom(a, a.BitLen())}))
			}
		}
	}
	return rules
}

// toOutbound gives the rules that redirect to the proxy what meets r and the
// included ranges.
func (p podRules) toOutbound(r Rule) (rules []Rule) {
	r.Proto, r.Redirect, r.Explanation = TCP, p.OutboundPort, "to the proxy"
	if p.Outbound.All {
		return []Rule{r}
	}
	for _, prefix := range p.ofFamily(p.Outbound.Prefixes) {
		r.Dest = prefix
		rules = append(rules, r)
	}
	return rules
}

// natPrerouting redirects what comes into the pod.
func (p podRules) natPrerouting() (rules []Rule) {
	add := func(r ...Rule) { rules = append(rules, r...) }
	for _, name := range p.RerouteInterfaces {
		for _, port := range p.ExcludeOutboundPorts {
			add(Rule{Proto: TCP, Interface: name, DestPort: port, Explanation: "excluded port, from a virtual machine"})
		}
		for _, prefix := range p.ofFamily(p.ExcludeOutbound) {
			add(Rule{Interface: name, Dest: prefix, Explanation: "excluded destination, from a virtual machine"})
		}
		for _, port := range p.IncludeOutboundPorts {
			add(Rule{Proto: TCP, Interface: name, DestPort: port, Redirect: p.OutboundPort, Explanation: "included port: to the proxy"})
		}
		add(p.toOutbound(Rule{Interface: name})...)
		add(Rule{Interface: name, Explanation: "other traffic of a virtual machine"})
	}
	if p.Mode != ModeRedirect {
		return rules
	}
	add(p.notCaptured()...)
	r := Rule{Proto: TCP, Redirect: p.InboundPort, Explanation: "to the proxy"}
	for _, r.DestPort = range p.inboundPorts() {
		add(r)
	}
	return rules
}

// notCaptured are the exceptions from inbound capture.
func (p podRules) notCaptured() (rules []Rule) {
	for _, name := range p.ExcludeInterfaces {
		rules = append(rules, Rule{Interface: name, Explanation: "excluded interface"})
	}
	rules = append(rules, Rule{Proto: TCP, DestPort: p.TunnelPort, Explanation: "the tunnel's port"})
	if p.Inbound.All {
		for _, port := range p.ExcludeInbound {
			rules = append(rules, Rule{Proto: TCP, DestPort: port, Explanation: "excluded port"})
		}
	}
	return rules
}

// inboundPorts are the ports to capture; 0 is every port.
func (p podRules) inboundPorts() []uint16 {
	if p.Inbound.All {
		return []uint16{0}
	}
	return p.Inbound.Ports
}

func (p podRules) isOf(a netip.Addr) bool { return a.Is4() == (p.family == IPv4) }

func (p podRules) ofFamily(prefixes []netip.Prefix) (of []netip.Prefix) {
	for _, prefix := range prefixes {
		if p.isOf(prefix.Addr()) {
			of = append(of, prefix)
		}
	}
	return of
}
