package main

import (
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	securityv1 "istio.io/api/security/v1alpha1"

	"github.com/lateen-mesh/lateen/bench/mesh"
)

const typePrefix = "type.googleapis.com/"

// pushOrder is make before break: what is named comes before what names it.
var pushOrder = []string{
	typePrefix + "envoy.extensions.transport_sockets.tls.v3.Secret", typePrefix + "envoy.config.cluster.v3.Cluster",
	typePrefix + "envoy.config.listener.v3.Listener", typePrefix + "envoy.config.route.v3.RouteConfiguration",
}

// control is an incremental ADS server whose resources change under way.
type control struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	grpc   *grpc.Server
	socket string

	pushes, streams atomic.Int64

	mu       sync.Mutex
	nodes    map[string]*node // guarded by mu
	away     bool             // guarded by mu: no stream is taken
	cut      chan struct{}    // guarded by mu; closed to end all streams
	refusals []string         // guarded by mu
}

// node is what one proxy shall have; guarded by the server's mutex.
type node struct {
	resources map[string]map[string]*discoveryv3.Resource // by type URL and name
	changed   chan struct{}                               // closed and replaced by each change
}

func newControl(socket string, a *authority) (*control, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	c := &control{grpc: grpc.NewServer(), socket: socket, nodes: map[string]*node{}, cut: make(chan struct{})}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(c.grpc, c)
	securityv1.RegisterIstioCertificateServiceServer(c.grpc, a)
	go func() { _ = c.grpc.Serve(l) }() // ends with close
	return c, nil
}

func (c *control) close() { c.grpc.Stop() }

// set replaces a node's resources. What has not changed is not sent again.
func (c *control) set(id string, resources []mesh.Resource) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.nodes[id]
	if n == nil {
		n = &node{changed: make(chan struct{})}
		c.nodes[id] = n
	}
	next := map[string]map[string]*discoveryv3.Resource{}
	for _, r := range resources {
		a := &anypb.Any{}
		if err := protojson.Unmarshal([]byte(r.JSON), a); err != nil {
			return fmt.Errorf("resource %s: %w\n%s", r.Name, err, r.JSON)
		}
		if next[a.TypeUrl] == nil {
			next[a.TypeUrl] = map[string]*discoveryv3.Resource{}
		}
		old := n.resources[a.TypeUrl][r.Name]
		if old == nil || !proto.Equal(old.Resource, a) {
			old = &discoveryv3.Resource{Name: r.Name, Version: fmt.Sprint(c.pushes.Add(1)), Resource: a}
		}
		next[a.TypeUrl][r.Name] = old
	}
	n.resources = next
	close(n.changed)
	n.changed = make(chan struct{})
	return nil
}

// leave ends every stream and takes none for a while.
func (c *control) leave(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
	if away {
		close(c.cut)
		c.cut = make(chan struct{})
	}
}

// refused tells of resources that a proxy did not take.
func (c *control) refused() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.refusals)
}

// DeltaAggregatedResources implements the incremental service.
func (c *control) DeltaAggregatedResources(st grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	c.mu.Lock()
	away, cut := c.away, c.cut
	c.mu.Unlock()
	if away {
		return status.Error(codes.Unavailable, "the control plane is away, on purpose")
	}
	c.streams.Add(1)
	asked := make(chan *discoveryv3.DeltaDiscoveryRequest)
	failed := make(chan error, 1)
	go func() {
		for {
			r, err := st.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case asked <- r:
			case <-st.Context().Done():
				return
			}
		}
	}()
	s := &session{control: c, stream: st, watches: map[string]*watch{}}
	for {
		select {
		case r := <-asked:
			s.ask(r)
		case <-s.changed():
		case <-cut:
			return status.Error(codes.Unavailable, "the control plane leaves, on purpose")
		case err := <-failed:
			return err
		}
		if err := s.push(); err != nil {
			return err
		}
	}
}

// session is one stream.
type session struct {
	control *control
	stream  grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
	id      string
	nonce   int
	watches map[string]*watch
	wait    chan struct{}
}

// watch is what a stream asked for of one type.
type watch struct {
	all     bool
	names   map[string]bool
	sent    map[string]string // versions
	pending bool              // an answer is due, even an empty one
}

func (s *session) changed() <-chan struct{} { return s.wait }

func (s *session) ask(r *discoveryv3.DeltaDiscoveryRequest) {
	if s.id == "" {
		s.id = r.GetNode().GetId()
	}
	if e := r.GetErrorDetail(); e != nil {
		s.control.mu.Lock()
		s.control.refusals = append(s.control.refusals, time.Now().Format("15:04:05 ")+e.GetMessage())
		s.control.mu.Unlock()
	}
	w := s.watches[r.GetTypeUrl()]
	if w == nil {
		w = &watch{names: map[string]bool{}, sent: map[string]string{}, pending: true}
		w.all = len(r.GetResourceNamesSubscribe()) == 0
		for name, version := range r.GetInitialResourceVersions() {
			w.sent[name] = version
		}
		s.watches[r.GetTypeUrl()] = w
	}
	for _, name := range r.GetResourceNamesSubscribe() {
		if name == "*" {
			w.all = true
			continue
		}
		w.names[name], w.pending = true, true
	}
	for _, name := range r.GetResourceNamesUnsubscribe() {
		delete(w.names, name)
		delete(w.sent, name)
	}
}

// push sends what is new: additions first, in the order of pushOrder, then what is
// gone, in the opposite order.
func (s *session) push() error {
	var adds, removes []*discoveryv3.DeltaDiscoveryResponse
	s.control.mu.Lock()
	n := s.control.nodes[s.id]
	if n == nil {
		s.control.mu.Unlock()
		return fmt.Errorf("node %q is not known", s.id)
	}
	s.wait = n.changed
	for _, url := range pushOrder {
		w := s.watches[url]
		if w == nil {
			continue
		}
		add, remove := w.diff(url, n.resources[url])
		if len(add.Resources) > 0 || w.pending {
			adds = append(adds, add)
		}
		if len(remove.RemovedResources) > 0 {
			removes = append(removes, remove)
		}
		w.pending = false
	}
	s.control.mu.Unlock()
	slices.Reverse(removes)
	for _, r := range append(adds, removes...) {
		s.nonce++
		r.Nonce, r.SystemVersionInfo = fmt.Sprint(s.nonce), fmt.Sprint(s.nonce)
		if err := s.stream.Send(r); err != nil {
			return err
		}
	}
	return nil
}

func (w *watch) diff(url string, have map[string]*discoveryv3.Resource) (add, remove *discoveryv3.DeltaDiscoveryResponse) {
	add, remove = &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url}, &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url}
	for name, r := range have {
		if (w.all || w.names[name]) && w.sent[name] != r.Version {
			add.Resources = append(add.Resources, r)
			w.sent[name] = r.Version
		}
	}
	for name := range w.sent {
		if have[name] == nil {
			remove.RemovedResources = append(remove.RemovedResources, name)
			delete(w.sent, name)
		}
	}
	return add, remove
}
