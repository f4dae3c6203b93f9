package build

import (
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// connectTimeout bounds handshakes, as in Istio.
const connectTimeout = 15 * time.Second

// ALPNs by which callers of the mesh tell what they speak.
var (
	meshHTTP = []string{"istio-http/1.0", "istio-http/1.1", "istio-h2"}
	meshTCP  = []string{"istio-peer-exchange", "istio"}
	meshAny  = []string{"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1", "istio-h2"}
)

// inbound adds the listeners before the workload: virtualInbound for redirected
// connections, else one listener for each port.
func (b *builder) inbound() {
	in := b.p.Inbound
	if b.p.Redirected {
		var origins []verdict.Origin
		for i := range in.Ports {
			origins = append(origins, in.Ports[i].Origins...)
		}
		b.add(&b.set.Listeners, ListenerType, "virtualInbound", b.virtualInbound(in), origins)
		return
	}
	for i := range in.Ports {
		p := &in.Ports[i]
		l := newListener(in.Addr.String(), p.Port, corev3.TrafficDirection_INBOUND)
		if !in.Addr.IsValid() {
			l = newListener(anyAddress, p.Port, corev3.TrafficDirection_INBOUND)
		}
		l.FilterChains = b.portChains(p)
		for _, c := range l.FilterChains {
			c.FilterChainMatch.DestinationPort = nil
		}
		b.inspect(l, []ir.InboundPort{*p}, p.MTLS)
		b.add(&b.set.Listeners, ListenerType, l.Name, l, p.Origins)
	}
}

// virtualInbound takes every connection to the workload: to ports that services
// name by their own chains, to all others by the catch-all chains.
func (b *builder) virtualInbound(in *ir.Inbound) *listenerv3.Listener {
	out := newListener(anyAddress, inboundPort, corev3.TrafficDirection_INBOUND)
	out.Name = "virtualInbound"
	out.MaxConnectionsToAcceptPerSocketEvent = wrapperspb.UInt32(1)
	out.AccessLog = unserved()
	out.FilterChains = append(out.FilterChains, &listenerv3.FilterChain{
		Name:             "virtualInbound-blackhole",
		FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: wrapperspb.UInt32(inboundPort)},
		Filters:          b.inboundRelay(ir.Key{Direction: ir.BlackHole}),
	})
	out.FilterChains = append(out.FilterChains, b.catchAll(in.Mode)...)
	for i := range in.Ports {
		out.FilterChains = append(out.FilterChains, b.portChains(&in.Ports[i])...)
	}
	out.ListenerFilters = []*listenerv3.ListenerFilter{originalDst()}
	b.inspect(out, in.Ports, in.Mode)
	return out
}

// inspect adds the inspectors and their time-out. Ports whose chains need no
// inspector are spared it, so that protocols in which the server speaks first are
// not held up.
func (b *builder) inspect(l *listenerv3.Listener, ports []ir.InboundPort, mode ir.MTLS) {
	var noTLS, noHTTP []uint16
	sniff := b.p.Redirected && mode != ir.Strict
	for i := range ports {
		p := &ports[i]
		if p.MTLS == ir.Plain {
			noTLS = append(noTLS, p.Port)
		}
		if p.App != ir.Sniffed || p.MTLS == ir.Strict {
			noHTTP = append(noHTTP, p.Port)
		} else {
			sniff = true
		}
	}
	if b.p.Redirected {
		noTLS, noHTTP = append(noTLS, inboundPort), append(noHTTP, inboundPort)
	}
	l.ListenerFilters = append(l.ListenerFilters, tlsInspector(noTLS))
	if sniff {
		l.ListenerFilters = append(l.ListenerFilters, httpInspector(noHTTP))
	}
	l.ListenerFiltersTimeout = durationpb.New(b.p.Requests.DetectionTimeout)
	l.ContinueOnListenerFiltersTimeout = true
}

// chainKind says what one inbound chain takes.
type chainKind struct {
	transport string   // "tls", "raw_buffer", "" any
	alpn      []string // of the hello, or found by the HTTP inspector
	mesh      bool     // ends mesh TLS
	http      bool
}

// chainKinds lists the chains for a protocol and a mode. What is TLS of the
// application's own is told from mesh TLS by ALPN, and relayed.
func (b *builder) chainKinds(app ir.App, mode ir.MTLS) []chainKind {
	plainHTTP := b.httpDetected()
	switch {
	case mode == ir.Strict && app == ir.Sniffed:
		return []chainKind{{"tls", meshHTTP, true, true}, {"tls", nil, true, false}}
	case mode == ir.Strict:
		return []chainKind{{"tls", nil, true, app.HTTPish()}}
	case mode == ir.Plain && app == ir.Sniffed:
		return []chainKind{{"", plainHTTP, false, true}, {"", nil, false, false}}
	case mode == ir.Plain && app == ir.TCP:
		return []chainKind{{"", nil, false, false}}
	case mode == ir.Plain:
		return []chainKind{{"raw_buffer", nil, false, true}}
	case app == ir.Sniffed:
		return []chainKind{
			{"tls", meshHTTP, true, true}, {"raw_buffer", plainHTTP, false, true},
			{"tls", meshTCP, true, false}, {"raw_buffer", nil, false, false}, {"tls", nil, false, false},
		}
	case app == ir.TCP:
		return []chainKind{{"tls", meshAny, true, false}, {"raw_buffer", nil, false, false}, {"tls", nil, false, false}}
	}
	return []chainKind{{"tls", meshAny, true, true}, {"raw_buffer", nil, false, true}}
}

func (k chainKind) match(port uint16) *listenerv3.FilterChainMatch {
	m := &listenerv3.FilterChainMatch{TransportProtocol: k.transport, ApplicationProtocols: k.alpn}
	if port != 0 {
		m.DestinationPort = wrapperspb.UInt32(uint32(port))
	}
	return m
}

// portChains are the chains of a port that services name.
func (b *builder) portChains(p *ir.InboundPort) []*listenerv3.FilterChain {
	name := anyAddress + "_" + strconv.Itoa(int(p.Port))
	key := ir.Key{Direction: ir.InboundTo, Port: p.Port}
	prefix := "inbound_" + name + ";"
	var out []*listenerv3.FilterChain
	for _, k := range b.chainKinds(p.App, p.MTLS) {
		c := b.inboundChain(name, k, p.Port)
		if k.http {
			c.Filters = append(c.Filters, httpManager(b.inboundManager(prefix, b.inboundRoutes(key, p.Port, p.Services))))
		} else {
			c.Filters = b.inboundRelay(key)
		}
		out = append(out, c)
	}
	return out
}

// catchAll are the chains for ports that no service names.
func (b *builder) catchAll(mode ir.MTLS) []*listenerv3.FilterChain {
	key := ir.Key{Direction: ir.InboundPassthrough}
	var out []*listenerv3.FilterChain
	for _, k := range b.chainKinds(ir.Sniffed, mode) {
		name := "virtualInbound"
		if k.http {
			name = "virtualInbound-catchall-http"
		}
		c := b.inboundChain(name, k, 0)
		if k.http {
			c.Filters = append(c.Filters, httpManager(b.inboundManager(key.String()+";", b.inboundRoutes(key, 0, nil))))
		} else {
			c.Filters = b.inboundRelay(key)
		}
		out = append(out, c)
	}
	return out
}

func (b *builder) inboundChain(name string, k chainKind, port uint16) *listenerv3.FilterChain {
	c := &listenerv3.FilterChain{Name: name, FilterChainMatch: k.match(port)}
	if k.mesh {
		c.TransportSocket = b.meshServer(k.http)
		c.TransportSocketConnectTimeout = durationpb.New(connectTimeout)
	}
	if b.native() {
		c.Filters = []*listenerv3.Filter{tcpExchangeFilter()}
	}
	return c
}

// inboundRelay relays connections to the workload.
func (b *builder) inboundRelay(key ir.Key) []*listenerv3.Filter {
	var out []*listenerv3.Filter
	if b.native() {
		out = append(out, tcpExchangeFilter())
	}
	return append(out, b.relay(key.String(), []ir.WeightedCluster{{Cluster: key, Weight: 100}})...)
}
