// Package clienttest is a small delta ADS server in the test's own process, for
// tests of the client and of what stands behind it.
package clienttest

import (
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Server holds resources and sends each client what it subscribed to.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	t    testing.TB
	path string

	mu      sync.Mutex
	grpc    *grpc.Server
	socket  net.Listener
	data    map[string]map[string]*discoveryv3.Resource // by type and name
	version int
	streams map[*conn]bool
	nacks   []string
	tokens  []string
	firsts  []*discoveryv3.DeltaDiscoveryRequest // first request of each type, of the newest stream
}

type conn struct {
	wake chan struct{}
	subs map[string]map[string]bool   // names by type; "*" among them
	sent map[string]map[string]string // versions by type and name
}

// New starts a server on a Unix socket; it ends with the test.
func New(t testing.TB) *Server {
	s := &Server{t: t, path: filepath.Join(t.TempDir(), "xds.sock"), data: map[string]map[string]*discoveryv3.Resource{}, streams: map[*conn]bool{}}
	s.Start()
	t.Cleanup(s.Stop)
	return s
}

// Target is what a client dials.
func (s *Server) Target() string { return "unix://" + s.path }

// Start starts the server again after Stop; the resources are kept.
func (s *Server) Start() {
	l, err := net.Listen("unix", s.path)
	if err != nil {
		s.t.Fatal(err)
	}
	g := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s)
	s.mu.Lock()
	s.grpc, s.socket = g, l
	s.mu.Unlock()
	go func() { _ = g.Serve(l) }() // ends with Stop
}

// Stop breaks all streams and closes the socket.
func (s *Server) Stop() {
	s.mu.Lock()
	g, l := s.grpc, s.socket
	s.mu.Unlock()
	g.Stop()
	_ = l.Close() // of a server that did not serve yet, Stop does not know it
}

// Set adds or replaces a resource.
func (s *Server) Set(name string, m proto.Message) {
	s.t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		s.t.Fatal(err)
	}
	s.Raw(name, a)
}

// Raw adds or replaces a resource in its Any.
func (s *Server) Raw(name string, a *anypb.Any) {
	s.change(func() {
		s.version++
		if s.data[a.TypeUrl] == nil {
			s.data[a.TypeUrl] = map[string]*discoveryv3.Resource{}
		}
		s.data[a.TypeUrl][name] = &discoveryv3.Resource{Name: name, Version: strconv.Itoa(s.version), Resource: a}
	})
}

// Delete removes a resource.
func (s *Server) Delete(typeURL, name string) { s.change(func() { delete(s.data[typeURL], name) }) }

func (s *Server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	for c := range s.streams {
		c.poke()
	}
}

func (c *conn) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Nacks are the texts of the NACKs so far.
func (s *Server) Nacks() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.nacks)
}

// Tokens are the authorization values of the streams so far.
func (s *Server) Tokens() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.tokens)
}

// Firsts are the first requests of each type on the newest stream.
func (s *Server) Firsts() []*discoveryv3.DeltaDiscoveryRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.firsts)
}

// DeltaAggregatedResources implements the service.
func (s *Server) DeltaAggregatedResources(st grpc.BidiStreamingServer[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]) error {
	c := &conn{wake: make(chan struct{}, 1), subs: map[string]map[string]bool{}, sent: map[string]map[string]string{}}
	md, _ := metadata.FromIncomingContext(st.Context())
	s.mu.Lock()
	s.streams[c] = true
	s.tokens = append(s.tokens, md.Get("authorization")...)
	s.firsts = nil
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.streams, c)
		s.mu.Unlock()
	}()
	failed := make(chan error, 1)
	go func() {
		for {
			r, err := st.Recv()
			if err != nil {
				failed <- err
				return
			}
			s.receive(c, r)
		}
	}()
	for {
		for _, r := range s.pending(c) {
			if err := st.Send(r); err != nil {
				return err
			}
		}
		select {
		case <-c.wake:
		case err := <-failed:
			return err
		case <-st.Context().Done():
			return st.Context().Err()
		}
	}
}

func (s *Server) receive(c *conn, r *discoveryv3.DeltaDiscoveryRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.ErrorDetail != nil {
		s.nacks = append(s.nacks, r.ErrorDetail.Message)
	}
	url := r.TypeUrl
	if c.subs[url] == nil {
		c.subs[url], c.sent[url] = map[string]bool{}, map[string]string{}
		maps.Copy(c.sent[url], r.InitialResourceVersions)
		if len(r.ResourceNamesSubscribe) == 0 && r.ResponseNonce == "" {
			c.subs[url]["*"] = true
		}
		s.firsts = append(s.firsts, r)
	}
	for _, n := range r.ResourceNamesSubscribe {
		c.subs[url][n] = true
		if r.InitialResourceVersions[n] == "" {
			delete(c.sent[url], n)
		}
	}
	for _, n := range r.ResourceNamesUnsubscribe {
		delete(c.subs[url], n)
		delete(c.sent[url], n)
	}
	c.poke()
}

// order is make-before-break: clusters and endpoints, listeners and routes.
var order = []string{"Cluster", "ClusterLoadAssignment", "Secret", "Listener", "RouteConfiguration"}

func rank(url string) int {
	return slices.IndexFunc(order, func(o string) bool { return filepath.Ext(url) == "."+o })
}

// pending makes the responses that bring a client up to date.
func (s *Server) pending(c *conn) []*discoveryv3.DeltaDiscoveryResponse {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*discoveryv3.DeltaDiscoveryResponse
	urls := slices.SortedFunc(maps.Keys(c.subs), func(a, b string) int { return rank(a) - rank(b) })
	for _, url := range urls {
		r := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: url, SystemVersionInfo: strconv.Itoa(s.version)}
		for _, n := range slices.Sorted(maps.Keys(s.data[url])) {
			res := s.data[url][n]
			if (c.subs[url]["*"] || c.subs[url][n]) && c.sent[url][n] != res.Version {
				c.sent[url][n] = res.Version
				r.Resources = append(r.Resources, res)
			}
		}
		for n := range c.sent[url] {
			if s.data[url][n] == nil {
				delete(c.sent[url], n)
				r.RemovedResources = append(r.RemovedResources, n)
			}
		}
		if len(r.Resources)+len(r.RemovedResources) > 0 {
			r.Nonce = fmt.Sprint(time.Now().UnixNano())
			out = append(out, r)
		}
	}
	return out
}
