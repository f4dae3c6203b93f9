package config

import (
	"math"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	httpinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/http_inspector/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// ParseListener makes the node of a listener.
func ParseListener(m *listenerv3.Listener, d Deps) (*Listener, error) {
	s := root("listener", m.GetName())
	if err := strict(s, m); err != nil {
		return nil, err
	}
	p := &parser{Deps: d}
	l := &Listener{
		Name:              m.GetName(),
		Bind:              boolOr(m.GetBindToPort(), boolOr(m.GetDeprecatedV1().GetBindToPort(), true)),
		UseOriginalDst:    m.GetUseOriginalDst().GetValue(),
		Dir:               direction(m.GetTrafficDirection(), d.Gateway),
		ContinueOnTimeout: m.GetContinueOnListenerFiltersTimeout(),
		Metadata:          parseMetadata(m.GetMetadata()),
	}
	var err error
	if l.Hash, err = hash(s, m); err != nil {
		return nil, err
	}
	if l.Addr, err = parseAddr(s.at("address"), m.GetAddress()); err != nil {
		return nil, err
	}
	// Envoy: "If unspecified, the default timeout of 15s is used. … 0 disables".
	if l.InspectTimeout, err = duration(s.at("listener_filters_timeout"), m.GetListenerFiltersTimeout(), 15*time.Second); err != nil {
		return nil, err
	}
	if l.AccessLogs, err = parseAccessLogs(s, m.GetAccessLog(), true); err != nil {
		return nil, err
	}
	if err := p.listenerFilters(s, l, m.GetListenerFilters()); err != nil {
		return nil, err
	}
	return l, p.chains(s, l, m)
}

func direction(d corev3.TrafficDirection, gateway bool) stream.Direction {
	switch {
	case d == corev3.TrafficDirection_INBOUND:
		return stream.Inbound
	case gateway:
		return stream.Gateway
	}
	return stream.Outbound
}

func (p *parser) chains(s *scope, l *Listener, m *listenerv3.Listener) error {
	if len(m.GetFilterChains()) == 0 && m.GetDefaultFilterChain() == nil {
		return s.errorf("has no filter chains")
	}
	seen := newMatchSet()
	for i, fc := range m.GetFilterChains() {
		at := s.item("filter_chains", i)
		c, err := p.chain(at, l.Dir, fc)
		if err != nil {
			return err
		}
		if !seen.add(&c.Match) {
			return at.at("filter_chain_match").errorf("another chain has the same match")
		}
		l.Chains = append(l.Chains, c)
	}
	if fc := m.GetDefaultFilterChain(); fc != nil {
		c, err := p.chain(s.at("default_filter_chain"), l.Dir, fc)
		if err != nil {
			return err
		}
		l.DefaultChain = c
	}
	return nil
}

// listenerFilters reads the filters that look at a connection before its chain is
// chosen. Their order does not matter here: the original destination and the PROXY
// header always come first.
func (p *parser) listenerFilters(s *scope, l *Listener, list []*listenerv3.ListenerFilter) error {
	for i, f := range list {
		at := s.item("listener_filters", i)
		e, err := unwrap(at.at("typed_config"), f.GetTypedConfig())
		if err != nil {
			return err
		}
		off, err := disabledPorts(at.at("filter_disabled"), f.GetFilterDisabled())
		if err != nil {
			return err
		}
		at = at.at("typed_config")
		switch e.short() {
		case "envoy.extensions.filters.listener.original_dst.v3.OriginalDst":
			l.OriginalDst = true
			err = e.into(at, &originaldstv3.OriginalDst{})
		case "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector":
			l.TLSInspector, l.TLSInspectorOff = true, off
			off, err = nil, e.into(at, &tlsinspectorv3.TlsInspector{})
		case "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector":
			l.HTTPInspector, l.HTTPInspectorOff = true, off
			off, err = nil, e.into(at, &httpinspectorv3.HttpInspector{})
		case "envoy.extensions.filters.listener.proxy_protocol.v3.ProxyProtocol":
			l.ProxyProtocol = true
			err = e.into(at, &proxyprotocolv3.ProxyProtocol{})
		default:
			return at.errorf("listener filter %s is not supported by this proxy", e.short())
		}
		if err != nil {
			return err
		}
		if off != nil {
			return s.item("listener_filters", i).at("filter_disabled").unsupported()
		}
	}
	return nil
}

// disabledPorts reads a predicate that is an alternative of destination port
// ranges, which is what Istio sends.
func disabledPorts(s *scope, m *listenerv3.ListenerFilterChainMatchPredicate) ([]PortRange, error) {
	switch r := m.GetRule().(type) {
	case nil:
		return nil, nil
	case *listenerv3.ListenerFilterChainMatchPredicate_DestinationPortRange:
		lo, hi := r.DestinationPortRange.GetStart(), r.DestinationPortRange.GetEnd()
		if lo < 0 || hi > math.MaxUint16+1 || lo >= hi {
			return nil, s.at("destination_port_range").errorf("[%d, %d) is not a range of ports", lo, hi)
		}
		if hi > math.MaxUint16 {
			hi = math.MaxUint16 // a node's range cannot hold port 65535, which is then inspected all the same
		}
		return []PortRange{{Start: uint16(lo), End: uint16(hi)}}, nil
	case *listenerv3.ListenerFilterChainMatchPredicate_OrMatch:
		var out []PortRange
		for i, rule := range r.OrMatch.GetRules() {
			ports, err := disabledPorts(s.at("or_match").item("rules", i), rule)
			if err != nil {
				return nil, err
			}
			out = append(out, ports...)
		}
		return out, nil
	}
	return nil, s.unsupported()
}
