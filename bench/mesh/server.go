package mesh

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	securityv1 "istio.io/api/security/v1alpha1"
)

// Server gives each proxy, by its node id, resources that never change.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	grpc *grpc.Server
	// Socket is the path of its Unix socket.
	Socket string

	mu    sync.Mutex
	nodes map[string]*node // guarded by mu
}

// node is one proxy; guarded by the server's mutex.
type node struct {
	resources map[string]map[string]*discoveryv3.Resource // by type URL and name
	refusals  []string
}

// NewServer serves on a Unix socket until Close.
func NewServer(socket string, a *Authority) (*Server, error) {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	s := &Server{grpc: grpc.NewServer(), Socket: socket, nodes: map[string]*node{}}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s.grpc, s)
	securityv1.RegisterIstioCertificateServiceServer(s.grpc, a)
	go func() { _ = s.grpc.Serve(l) }() // ends with Close; what a proxy then misses, its own test tells
	return s, nil
}

// Close ends the server and all its streams.
func (s *Server) Close() { s.grpc.Stop() }

// Set gives a node its resources: name and proto JSON with "@type".
func (s *Server) Set(id string, resources []Resource) error {
	n := &node{resources: map[string]map[string]*discoveryv3.Resource{}}
	for _, r := range resources {
		a := &anypb.Any{}
		if err := protojson.Unmarshal([]byte(r.JSON), a); err != nil {
			return fmt.Errorf("resource %s: %w\n%s", r.Name, err, r.JSON)
		}
		if n.resources[a.TypeUrl] == nil {
			n.resources[a.TypeUrl] = map[string]*discoveryv3.Resource{}
		}
		n.resources[a.TypeUrl][r.Name] = &discoveryv3.Resource{Name: r.Name, Version: "1", Resource: a}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[id] = n
	return nil
}

// Refused gives an error if the node refused one of its resources.
func (s *Server) Refused(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[id]; n != nil && len(n.refusals) > 0 {
		return fmt.Errorf("%s refuses its configuration: %s", id, n.refusals[0])
	}
	return nil
}

// DeltaAggregatedResources implements the incremental service.
func (s *Server) DeltaAggregatedResources(st grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	var id string
	for nonce := 1; ; nonce++ {
		r, err := st.Recv()
		if err != nil {
			return err
		}
		if id == "" {
			id = r.GetNode().GetId()
		}
		resp, err := s.answer(id, r)
		if err != nil {
			return err
		}
		if resp == nil {
			continue
		}
		resp.Nonce = fmt.Sprint(nonce)
		if err := st.Send(resp); err != nil {
			return err
		}
	}
}

func (s *Server) answer(id string, r *discoveryv3.DeltaDiscoveryRequest) (*discoveryv3.DeltaDiscoveryResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil {
		return nil, fmt.Errorf("node %q is not known", id)
	}
	if e := r.GetErrorDetail(); e != nil {
		n.refusals = append(n.refusals, e.GetMessage())
	}
	names := r.GetResourceNamesSubscribe()
	if r.GetResponseNonce() != "" && len(names) == 0 {
		return nil, nil // only an answer
	}
	all := n.resources[r.GetTypeUrl()]
	if len(names) == 0 || slices.Contains(names, "*") {
		names = slices.Sorted(maps.Keys(all))
	}
	resp := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: r.GetTypeUrl(), SystemVersionInfo: "1"}
	for _, name := range names {
		if res := all[name]; res != nil {
			resp.Resources = append(resp.Resources, res)
		} else {
			resp.RemovedResources = append(resp.RemovedResources, name)
		}
	}
	return resp, nil
}
