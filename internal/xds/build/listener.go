package build

import (
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
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

// plainHTTP are the protocols that the HTTP inspector finds in plain text.
var plainHTTP = []string{"http/1.1", "h2c"}

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
	out.ListenerFiltersTimeout = durationpb.New(0)
	out.ContinueOnListenerFiltersTimeout = true
	if b.p.Redirected {
		out.BindToPort = wrapperspb.Bool(false)
	}
	chain := &listenerv3.FilterChain{TransportSocketConnectTimeout: durationpb.New(connectTimeout)}
	prefix := "outbound_" + out.Name + ";"
	switch {
	case !l.App.HTTPish() && l.App != ir.Sniffed:
		chain.Filters = b.relay(l.Label, l.TCP)
		chain.Metadata = ruleMetadata(l.Rule.Ref, "")
		out.FilterChains = []*listenerv3.FilterChain{chain}
		return out
	case !b.p.Redirected:
		chain.Filters = []*listenerv3.Filter{httpManager(b.outboundManager(prefix, l.Table))}
		out.FilterChains = []*listenerv3.FilterChain{chain}
		return out
	}
	chain.FilterChainMatch = &listenerv3.FilterChainMatch{TransportProtocol: "raw_buffer", ApplicationProtocols: plainHTTP}
	chain.Filters = []*listenerv3.Filter{httpManager(b.outboundManager(prefix, l.Table))}
	out.FilterChains = []*listenerv3.FilterChain{chain}
	out.DefaultFilterChain = &listenerv3.FilterChain{Name: "PassthroughFilterChain", Filters: b.relayTo(ir.PassthroughTo)}
	if len(l.TCP) > 0 {
		out.DefaultFilterChain.Filters = b.relay(l.Label, l.TCP)
	}
	out.ListenerFilters = []*listenerv3.ListenerFilter{httpInspector(nil)}
	return out
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
		Filters: b.relayTo(ir.PassthroughTo),
	}}
	return out
}

// gatewayListener is a port that a gateway serves.
func (b *builder) gatewayListener(l *ir.Listener) *listenerv3.Listener {
	out := newListener(listenerAddress(l), l.Port, corev3.TrafficDirection_OUTBOUND)
	out.MaxConnectionsToAcceptPerSocketEvent = wrapperspb.UInt32(1)
	out.AccessLog = unserved()
	prefix := "outbound_" + out.Name + ";"
	if len(l.TLS) == 0 {
		out.FilterChains = []*listenerv3.FilterChain{{
			Filters:                       []*listenerv3.Filter{httpManager(b.edgeManager(prefix, l.Table))},
			TransportSocketConnectTimeout: durationpb.New(connectTimeout),
		}}
		return out
	}
	for i := range l.TLS {
		t := &l.TLS[i]
		chain := &listenerv3.FilterChain{
			Filters:                       []*listenerv3.Filter{httpManager(b.edgeManager(prefix, t.Table))},
			TransportSocket:               b.gatewayServer(t),
			TransportSocketConnectTimeout: durationpb.New(connectTimeout),
		}
		if names := serverNames(t.ServerNames); len(names) > 0 {
			chain.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: names}
		}
		out.FilterChains = append(out.FilterChains, chain)
	}
	out.ListenerFilters = []*listenerv3.ListenerFilter{tlsInspector(nil)}
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

func tlsInspector(off []uint16) *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.tls_inspector", &tlsinspectorv3.TlsInspector{InitialReadBufferSize: wrapperspb.UInt32(512)}, off)
}

func httpInspector(off []uint16) *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.http_inspector", &httpinspectorv3.HttpInspector{}, off)
}
