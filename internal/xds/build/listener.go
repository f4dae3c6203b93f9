package build

import (
	"net/netip"
	"slices"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// Ports to which connections are redirected, and the name of any address.
const (
	outboundPort = 15001
	inboundPort  = 15006
	anyAddress   = "0.0.0.0"
)

// listeners adds all listeners of the proxy.
func (b *builder) listeners() {
	for i := range b.p.Outbound {
		l := &b.p.Outbound[i]
		m := b.gatewayListener
		if !b.p.Gateway {
			m = b.outboundListener
		}
		msg := m(l)
		b.add(&b.set.Listeners, ListenerType, msg.Name, msg, l.Origins)
	}
	if b.p.Redirected {
		b.add(&b.set.Listeners, ListenerType, "virtualOutbound", b.virtualOutbound(), nil)
	}
	if b.p.Inbound != nil {
		b.inbound()
	}
}

func listenerAddress(l *ir.Listener) string {
	if l.Addr.IsValid() {
		return l.Addr.String()
	}
	return anyAddress
}

// newListener makes a listener named "ADDRESS_PORT".
func newListener(addr string, port uint16, dir corev3.TrafficDirection) *listenerv3.Listener {
	return &listenerv3.Listener{
		Name:             addr + "_" + strconv.Itoa(int(port)),
		Address:          address(addr, port),
		TrafficDirection: dir,
	}
}

// outboundListener is a port that a sidecar's workload calls. Redirected
// connections are handed over to it by virtualOutbound: it binds nothing.
func (b *builder) outboundListener(l *ir.Listener) *listenerv3.Listener {
	out := newListener(listenerAddress(l), l.Port, corev3.TrafficDirection_OUTBOUND)
	out.ListenerFiltersTimeout = durationpb.New(b.p.Requests.DetectionTimeout)
	out.ContinueOnListenerFiltersTimeout = true
	if b.p.Redirected {
		out.BindToPort = wrapperspb.Bool(false)
	}
	prefix := "outbound_" + out.Name + ";"
	switch {
	case l.Table != "" && !b.p.Redirected:
		out.FilterChains = []*listenerv3.FilterChain{b.chainOf(httpManager(b.outboundManager(prefix, l.Table)))}
	case l.Table == "" && len(l.Chains) == 1 && catchAll(&l.Chains[0]):
		out.FilterChains = []*listenerv3.FilterChain{b.relayChain(&l.Chains[0])}
	default:
		b.toldApart(out, l, prefix)
	}
	return out
}

// toldApart gives a listener the chains between which first bytes, server names and
// destinations decide. What none of them takes passes through.
func (b *builder) toldApart(out *listenerv3.Listener, l *ir.Listener, prefix string) {
	out.DefaultFilterChain = &listenerv3.FilterChain{Filters: b.relayTo(b.unknown())}
	byName := false
	var subnets []netip.Prefix
	for i := range l.Chains {
		c := &l.Chains[i]
		chain := b.relayChain(c)
		if catchAll(c) {
			chain.FilterChainMatch, chain.TransportSocketConnectTimeout = nil, nil
			out.DefaultFilterChain = chain
			continue
		}
		byName = byName || len(c.ServerNames) > 0
		for _, p := range c.Subnets {
			if !slices.Contains(subnets, p) {
				subnets = append(subnets, p)
			}
		}
		out.FilterChains = append(out.FilterChains, chain)
	}
	out.DefaultFilterChain.Name = "PassthroughFilterChain"
	if l.Table != "" {
		out.FilterChains = append(b.requestChains(prefix, l.Table, subnets), out.FilterChains...)
	}
	if byName {
		out.ListenerFilters = append(out.ListenerFilters, tlsInspector(nil))
	}
	if l.Table != "" {
		out.ListenerFilters = append(out.ListenerFilters, httpInspector(nil))
	}
}

// requestChains read what is HTTP. Destinations are looked at before protocols: where
// other chains name subnets, requests to these need a chain of their own.
func (b *builder) requestChains(prefix, table string, subnets []netip.Prefix) []*listenerv3.FilterChain {
	var out []*listenerv3.FilterChain
	for _, to := range [][]netip.Prefix{nil, subnets} {
		if len(out) > 0 && len(to) == 0 {
			break
		}
		chain := b.chainOf(httpManager(b.outboundManager(prefix, table)))
		chain.FilterChainMatch = &listenerv3.FilterChainMatch{
			PrefixRanges: ranges(to), TransportProtocol: "raw_buffer", ApplicationProtocols: b.httpDetected(),
		}
		out = append(out, chain)
	}
	return out
}

func (b *builder) chainOf(filters ...*listenerv3.Filter) *listenerv3.FilterChain {
	return &listenerv3.FilterChain{Filters: filters, TransportSocketConnectTimeout: durationpb.New(connectTimeout)}
}

// relayChain relays the connections of a chain.
func (b *builder) relayChain(c *ir.Chain) *listenerv3.FilterChain {
	out := b.chainOf(b.relayAs(c)...)
	out.FilterChainMatch = chainMatch(c)
	out.Metadata = ruleMetadata(c.Rule.Ref, "")
	return out
}

func catchAll(c *ir.Chain) bool { return len(c.ServerNames)+len(c.Subnets) == 0 }

// chainMatch is nil for a chain that takes everything.
func chainMatch(c *ir.Chain) *listenerv3.FilterChainMatch {
	if catchAll(c) {
		return nil
	}
	out := &listenerv3.FilterChainMatch{ServerNames: serverNames(c.ServerNames), PrefixRanges: ranges(c.Subnets)}
	if len(c.ServerNames) > 0 && len(out.ServerNames) == 0 {
		out.TransportProtocol = "tls" // any name, or none at all
	}
	return out
}

func ranges(list []netip.Prefix) []*corev3.CidrRange {
	var out []*corev3.CidrRange
	for _, p := range list {
		out = append(out, &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))})
	}
	return out
}

// unknown is where connections to places go that the proxy does not know.
func (b *builder) unknown() ir.Direction {
	if b.p.RegistryOnly {
		return ir.BlackHole
	}
	return ir.PassthroughTo
}

// virtualOutbound takes every connection that the workload makes and hands it to
// the listener of its original destination; without one it passes through.
func (b *builder) virtualOutbound() *listenerv3.Listener {
	out := newListener(anyAddress, outboundPort, corev3.TrafficDirection_OUTBOUND)
	out.Name = "virtualOutbound"
	out.UseOriginalDst = wrapperspb.Bool(true)
	out.MaxConnectionsToAcceptPerSocketEvent = wrapperspb.UInt32(1)
	out.AccessLog = unserved()
	out.FilterChains = []*listenerv3.FilterChain{{
		Name:             "virtualOutbound-blackhole", // a call to the port itself would go round in circles
		FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: wrapperspb.UInt32(outboundPort)},
		Filters:          b.relayTo(ir.BlackHole),
	}, {
		Name:    "virtualOutbound-catchall-tcp",
		Filters: b.relayTo(b.unknown()),
	}}
	return out
}

// gatewayListener is a port that a gateway serves.
func (b *builder) gatewayListener(l *ir.Listener) *listenerv3.Listener {
	out := newListener(listenerAddress(l), l.Port, corev3.TrafficDirection_OUTBOUND)
	out.MaxConnectionsToAcceptPerSocketEvent = wrapperspb.UInt32(1)
	out.AccessLog = unserved()
	prefix := "outbound_" + out.Name + ";"
	if l.Table != "" {
		out.FilterChains = []*listenerv3.FilterChain{b.chainOf(httpManager(b.edgeManager(prefix, l.Table)))}
	}
	inspect := false
	for i := range l.Chains {
		c := &l.Chains[i]
		chain := b.relayChain(c)
		if c.Table != "" {
			chain.Filters = []*listenerv3.Filter{httpManager(b.edgeManager(prefix, c.Table))}
		}
		if c.TLS != nil {
			chain.TransportSocket = b.gatewayServer(c.TLS)
			if len(chain.FilterChainMatch.GetServerNames()) == 0 {
				chain.FilterChainMatch = nil
			}
		}
		inspect = inspect || c.TLS != nil || len(c.ServerNames) > 0
		out.FilterChains = append(out.FilterChains, chain)
	}
	if b.p.Requests.ProxyProtocol {
		out.ListenerFilters = append(out.ListenerFilters, proxyProtocol())
	}
	if inspect {
		out.ListenerFilters = append(out.ListenerFilters, tlsInspector(nil))
	}
	return out
}

// serverNames are the names that a chain matches; none where one of them is "*".
func serverNames(hosts []string) []string {
	for _, h := range hosts {
		if h == "*" {
			return nil
		}
	}
	return hosts
}

func listenerFilter(name string, m proto.Message, off []uint16) *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{
		Name:           name,
		ConfigType:     &listenerv3.ListenerFilter_TypedConfig{TypedConfig: typed(m)},
		FilterDisabled: disabledAt(off),
	}
}

func originalDst() *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.original_dst", &originaldstv3.OriginalDst{}, nil)
}

func proxyProtocol() *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.proxy_protocol", &proxyprotocolv3.ProxyProtocol{}, nil)
}

func tlsInspector(off []uint16) *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.tls_inspector", &tlsinspectorv3.TlsInspector{InitialReadBufferSize: wrapperspb.UInt32(512)}, off)
}

func httpInspector(off []uint16) *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.http_inspector", &httpinspectorv3.HttpInspector{}, off)
}
