package proxy

import (
	"fmt"
	"time"

	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/hcm"
	"github.com/lateen-mesh/lateen/internal/proxy/listener"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/telemetry"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

func (p *Proxy) updateListeners(added []client.Resource, removed []string, rejected map[string]error) {
	s := &p.state
	s.gotLDS = true
	for _, r := range added {
		node, changed, err := take(s.listeners, r, p.parse(config.ListenerURL))
		if err == nil && changed {
			err = p.buildListener(node.(*config.Listener))
		}
		if err != nil {
			reject(s.listeners, r, err, rejected)
		} else if changed {
			accept(s.listeners, r, node)
		}
	}
	for _, name := range removed {
		delete(s.listeners, name)
	}
	p.wantByListeners()
	p.settle(time.Now())
	// What cannot be bound is known only now.
	for _, r := range added {
		if l := s.listeners[r.Name]; l != nil && l.unbound != nil && rejected[r.Name] == nil {
			rejected[r.Name] = l.unbound
		}
	}
}

// listenerNode is what a listener needs besides its chains.
type listenerNode struct {
	logs   []*telemetry.AccessLog // for connections that no chain serves
	tables []*routes              // of its chains
}

// buildListener makes the run-time nodes of a listener's chains. A chain that did
// not change keeps its node, and with it its connections.
func (p *Proxy) buildListener(l *config.Listener) error {
	match.Prepare(l)
	logs, err := telemetry.NewAccessLogs(l.AccessLogs, p.sinks)
	if err != nil {
		return fmt.Errorf("listener %s: %w", l.Name, err)
	}
	node := &listenerNode{logs: logs}
	l.Runtime = node
	old := p.chainsOf(l)
	for _, fc := range allChains(l) {
		if fc.HTTP != nil && fc.HTTP.RouteName != "" {
			node.tables = append(node.tables, p.table(fc.HTTP.RouteName))
		}
		if c := old[fc.Hash]; c != nil {
			fc.Runtime = c
			continue
		}
		c, err := p.buildChain(l, fc)
		if err != nil {
			return fmt.Errorf("listener %s, filter chain %q: %w", l.Name, fc.Name, err)
		}
		fc.Runtime = c
	}
	return nil
}

// chainsOf gives the chains of the versions of a listener that are in force or
// wait, by hash.
func (p *Proxy) chainsOf(l *config.Listener) map[uint64]*listener.Chain {
	out := map[uint64]*listener.Chain{}
	add := func(old *config.Listener) {
		if old == nil || old.Dir != l.Dir {
			return
		}
		for _, fc := range allChains(old) {
			if c, ok := fc.Runtime.(*listener.Chain); ok {
				out[fc.Hash] = c
			}
		}
	}
	if r := p.state.listeners[l.Name]; r != nil {
		waiting, _ := r.node.(*config.Listener)
		add(waiting)
	}
	add(p.state.active[l.Name])
	return out
}

func (p *Proxy) buildChain(l *config.Listener, fc *config.FilterChain) (*listener.Chain, error) {
	var tls *tlsctx.Server
	var err error
	if fc.TLS != nil {
		o := tlsctx.ServerOptions{HTTP1: fc.HTTP != nil && fc.HTTP.Codec == config.CodecHTTP1, PeerPEM: fc.HTTP != nil && fc.HTTP.ClientCertPEM}
		if tls, err = tlsctx.NewServer(fc.TLS, p.secrets, o); err != nil {
			return nil, err
		}
	}
	var server listener.Server
	if fc.HTTP != nil {
		server, err = p.httpServer(l, fc.HTTP)
	} else {
		server, err = p.tcpServer(fc)
	}
	if err != nil {
		return nil, err
	}
	if server, err = p.guarded(fc, server); err != nil {
		return nil, err
	}
	return listener.NewChain(l, fc, tls, server), nil
}

func (p *Proxy) httpServer(l *config.Listener, cfg *config.HTTP) (listener.Server, error) {
	logs, err := telemetry.NewAccessLogs(cfg.AccessLogs, p.sinks)
	if err != nil {
		return nil, err
	}
	o := hcm.Options{Dir: l.Dir, Watch: p.watch, Overload: p.opts.Overload, Log: ops.Scope(p.opts.Log, "http")}
	if cfg.RouteName != "" {
		o.Routes = p.table(cfg.RouteName)
		o.Demand = p.demandAt(l, cfg.RouteName)
	}
	if cfg.Stats != nil {
		o.Observers = append(o.Observers, p.metrics)
	}
	for _, log := range logs {
		o.Observers = append(o.Observers, log)
	}
	o.Observers = append(o.Observers, p.tap)
	m, err := hcm.New(cfg, o)
	if err != nil {
		return nil, err
	}
	return func(t rawio.Transport, c *stream.Conn) listener.Conn { return m.NewConn(t, c) }, nil
}

// unserved writes the access log of a connection that no chain served.
func (p *Proxy) unserved(l *config.Listener, c *stream.Conn, why stream.Reason) {
	node, ok := l.Runtime.(*listenerNode)
	if !ok {
		return
	}
	writeConnLog(node.logs, c, &stream.Upstream{}, &stream.Outcome{Reason: why, Duration: int64(time.Since(c.Start))})
}

// writeConnLog writes the line of a connection that was no HTTP exchange.
func writeConnLog(logs []*telemetry.AccessLog, c *stream.Conn, up *stream.Upstream, o *stream.Outcome) {
	if len(logs) == 0 {
		return
	}
	s := &stream.Stream{Conn: c, Start: c.Start, Upstream: *up}
	for _, l := range logs {
		l.Done(s, o)
	}
}
