package agent

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"

	"github.com/lateen-mesh/lateen/internal/agent/sidecar"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/client"
	"github.com/lateen-mesh/lateen/internal/xds/client/cache"
)

type (
	deltaDown = grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
	deltaUp   = grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
)

// podRelay is what the relay does more in a pod: it keeps what the Envoy has accepted,
// serves that while the control plane is away, takes the name tables for the agent, and
// tells the node as the pod is now.
type podRelay struct {
	side  *sidecar.Sidecar
	conn  *grpc.ClientConn
	store *cache.Store
	log   *slog.Logger

	mu      sync.Mutex
	streams map[*deltaRelay]context.CancelFunc // guarded by mu: open ones
}

func newPodRelay(a *agent, log *slog.Logger) *podRelay {
	p := &podRelay{
		side: a.o.Pod, conn: a.conn, log: log, streams: map[*deltaRelay]context.CancelFunc{},
		store: a.o.Pod.Store([]string{secretType}, a.live.Load),
	}
	a.o.Pod.OnNode(func(*corev3.Node) {
		// The Envoy comes again, and its first request tells the new node.
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, cancel := range p.streams {
			cancel()
		}
	})
	return p
}

// delta serves one stream of the Envoy: from the control plane, or from what was kept
// while that cannot be reached.
func (p *podRelay) delta(r *relay, down deltaDown) error {
	after := p.side.Settings.FromCache
	if after >= 0 && !p.reachable(down.Context(), after) {
		return p.serveKept(down)
	}
	ctx, err := r.authorize(down.Context())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	up, err := r.upstream.DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	d := &deltaRelay{p: p, up: up, down: down, waiting: map[string]*discoveryv3.DeltaDiscoveryResponse{}}
	p.mu.Lock()
	p.streams[d] = cancel
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		delete(p.streams, d)
		p.mu.Unlock()
	}()
	sent := make(chan error, 1)
	go func() { // ends with down's or up's stream, of which this function's end is the end
		err := d.copyUp()
		if err != nil {
			cancel()
		}
		sent <- err
	}()
	err = d.copyDown()
	cancel()
	return endOf(err, sent)
}

// deltaRelay is one incremental stream between Envoy and control plane.
type deltaRelay struct {
	p    *podRelay
	up   deltaUp
	down deltaDown

	sending sync.Mutex // held while something is sent up

	mu      sync.Mutex
	waiting map[string]*discoveryv3.DeltaDiscoveryResponse // guarded by mu: not acknowledged yet, by nonce
}

func (d *deltaRelay) send(m *discoveryv3.DeltaDiscoveryRequest) error {
	d.sending.Lock()
	defer d.sending.Unlock()
	return d.up.Send(m)
}

func (d *deltaRelay) copyUp() error {
	for first := true; ; first = false {
		m, err := d.down.Recv()
		if errors.Is(err, io.EOF) {
			return d.up.CloseSend()
		}
		if err != nil {
			return err
		}
		if m.Node != nil {
			d.p.refresh(m.Node)
		}
		d.heed(m)
		if err := d.send(m); err != nil {
			return err // why, copyDown is told
		}
		if first && d.p.side.CapturesNames() {
			ask := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: wire.NameTableType, ResourceNamesSubscribe: []string{client.Wildcard}}
			if err := d.send(ask); err != nil {
				return err
			}
		}
	}
}

// refresh puts the pod's labels and annotations of this moment into the Envoy's node.
func (p *podRelay) refresh(n *corev3.Node) {
	for _, key := range []string{"LABELS", "ANNOTATIONS"} {
		if v := p.side.Node().GetMetadata().GetFields()[key]; v != nil && n.GetMetadata().GetFields() != nil {
			n.Metadata.Fields[key] = v
		}
	}
}

// heed keeps what the Envoy accepts.
func (d *deltaRelay) heed(m *discoveryv3.DeltaDiscoveryRequest) {
	if gone := m.GetResourceNamesUnsubscribe(); len(gone) > 0 {
		d.p.store.Record(m.GetTypeUrl(), nil, gone)
	}
	d.mu.Lock()
	resp := d.waiting[m.GetResponseNonce()]
	delete(d.waiting, m.GetResponseNonce())
	d.mu.Unlock()
	if resp == nil {
		return
	}
	if e := m.GetErrorDetail(); e != nil {
		d.p.log.Warn("configuration refused by the Envoy", "type", m.GetTypeUrl(), "err", e.GetMessage())
		return
	}
	d.p.store.Record(resp.GetTypeUrl(), received(resp), resp.GetRemovedResources())
}

func received(resp *discoveryv3.DeltaDiscoveryResponse) []client.Resource {
	out := make([]client.Resource, 0, len(resp.GetResources()))
	for _, r := range resp.GetResources() {
		out = append(out, client.Resource{Name: r.GetName(), Version: r.GetVersion(), Body: r.GetResource().GetValue()})
	}
	return out
}

func (d *deltaRelay) copyDown() error {
	for {
		m, err := d.up.Recv()
		if err != nil {
			return err
		}
		if m.GetTypeUrl() == wire.NameTableType {
			if err := d.takeNames(m); err != nil {
				return err
			}
			continue
		}
		d.mu.Lock()
		d.waiting[m.GetNonce()] = m
		d.mu.Unlock()
		if err := d.down.Send(m); err != nil {
			return err
		}
	}
}

// takeNames takes a name table, which is not for the Envoy.
func (d *deltaRelay) takeNames(m *discoveryv3.DeltaDiscoveryResponse) error {
	ack := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: m.GetTypeUrl(), ResponseNonce: m.GetNonce()}
	list := received(m)
	if err := d.p.side.UpdateNames(list, m.GetRemovedResources()); err != nil {
		d.p.log.Warn("names refused", "err", err)
		ack.ErrorDetail = &rpcstatus.Status{Code: int32(codes.InvalidArgument), Message: err.Error()}
	} else {
		d.p.store.Record(m.GetTypeUrl(), list, m.GetRemovedResources())
	}
	return d.send(ack)
}

// reachable waits until there is a connection to the control plane.
func (p *podRelay) reachable(ctx context.Context, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	for {
		s := p.conn.GetState()
		if s == connectivity.Ready {
			return true
		}
		p.conn.Connect()
		if !p.conn.WaitForStateChange(ctx, s) {
			return false
		}
	}
}
