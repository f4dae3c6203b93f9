package local

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/proxy"
	"github.com/lateen-mesh/lateen/internal/spiffe"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// Ports of a proxy's own pages, in the workload's namespace.
var (
	adminAddr   = netip.MustParseAddrPort("127.0.0.1:15000")
	metricsAddr = netip.MustParseAddrPort("0.0.0.0:15020")
	statusAddr  = netip.MustParseAddrPort("0.0.0.0:15021")
)

// proxyOutput is the name under which a sidecar's output is kept.
const proxyOutput = "istio-proxy"

// native is our own proxy in the mesh's process.
type native struct {
	proxy  *proxy.Proxy
	cancel context.CancelFunc
	wg     sync.WaitGroup
	failed atomic.Pointer[error]
	done   chan struct{} // closed when the proxy has ended
}

// startNative starts the pod's proxy in this process, with its sockets in the
// pod's namespace.
func (p *place) startNative(ctx context.Context) (*native, error) {
	node, err := p.runtime.nodeOf(p.spec, p.Addr(), Native)
	if err != nil {
		return nil, err
	}
	out, err := p.runtime.output(p.spec, proxyOutput)
	if err != nil {
		return nil, err
	}
	levels := ops.NewLevels(slog.LevelInfo)
	log := ops.NewLogger(out, ops.Text, levels)
	sid, err := spiffe.New(trustDomain, p.spec.Namespace, p.spec.ServiceAccount)
	if err != nil {
		return nil, err
	}
	id := identity.New(identity.Options{ID: sid, Issuer: identity.NewIssuer(p.runtime.issuer, p.token), Log: ops.Scope(log, "identity")})
	source, err := client.New(client.Options{Target: p.runtime.xds(), Token: p.token, Node: node, Log: ops.Scope(log, "xds"), MaxBackoff: time.Second})
	if err != nil {
		return nil, err
	}
	ports := p.runtime.ports
	if !p.ingress() {
		ports = nil
	}
	o := proxy.Options{
		Node: node, Sockets: p.at.Sockets(ports), Source: source, Secrets: id,
		AccessLog: writer{out}, ErrorLog: writer{out}, Log: log, Levels: levels, Watch: p.runtime.watch, Version: p.runtime.o.Version,
		Overload: p.runtime.guard, Runtime: p.runtime.settings,
	}
	if err := p.listenPages(&o); err != nil {
		return nil, err
	}
	px, err := proxy.New(o)
	if err != nil {
		for _, l := range []net.Listener{o.AdminListener, o.MetricsListener, o.StatusListener} {
			l.Close()
		}
		return nil, err
	}
	source.Beside(px.Observe)
	ctx, cancel := context.WithCancel(ctx)
	n := &native{proxy: px, cancel: cancel, done: make(chan struct{})}
	n.wg.Go(func() {
		if err := id.Run(ctx); err != nil && ctx.Err() == nil {
			log.Error("the identity is not renewed any more", "error", err)
		}
	})
	n.wg.Go(func() {
		defer close(n.done)
		if err := px.Run(ctx); err != nil && ctx.Err() == nil {
			p.log.Error("proxy ended", "error", err)
			n.failed.Store(&err)
		}
	})
	return n, nil
}

// writer hides the other methods of an output.
type writer struct{ io.Writer }

// ingress reports whether the host's ports are this pod's.
func (p *place) ingress() bool {
	return p.spec.Gateway && p.spec.Namespace == gatewayNamespace && p.spec.Owner == gatewayName
}

func (p *place) listenPages(o *proxy.Options) error {
	var opened []net.Listener
	for _, x := range []struct {
		addr netip.AddrPort
		to   *net.Listener
	}{{adminAddr, &o.AdminListener}, {metricsAddr, &o.MetricsListener}, {statusAddr, &o.StatusListener}} {
		l, err := p.at.Namespace.Listen(x.addr)
		if err != nil {
			for _, l := range opened {
				l.Close()
			}
			return fmt.Errorf("listening on %s: %w", x.addr, err)
		}
		opened = append(opened, l)
		*x.to = l
	}
	return nil
}

// readyPoll is how often a proxy is asked whether it is ready, before it is.
const readyPoll = 10 * time.Millisecond

// Wait implements supervise.Proxy.
func (n *native) Wait(ctx context.Context) error {
	t := time.NewTicker(readyPoll)
	defer t.Stop()
	for !n.proxy.Ready() {
		select {
		case <-t.C:
		case <-n.done:
			if err := n.failed.Load(); err != nil {
				return *err
			}
			return context.Canceled
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Ready implements supervise.Proxy.
func (n *native) Ready() bool { return n.proxy.Ready() }

// Drain implements supervise.Proxy.
func (n *native) Drain(ctx context.Context) { n.proxy.Drain(ctx) }

// Stop implements sidecar.
func (n *native) Stop() {
	n.cancel()
	n.wg.Wait()
}
