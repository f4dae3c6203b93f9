package server_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/go-cmp/cmp"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/xds/server"
)

const (
	cds = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	eds = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	lds = "type.googleapis.com/envoy.config.listener.v3.Listener"
	rds = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
)

// owner hands the connections to the test.
type owner struct {
	conns    chan *server.Conn
	progress chan struct{}
	gone     chan *server.Conn
	refuse   error
}

func (o *owner) Connected(c *server.Conn) error {
	if o.refuse == nil {
		o.conns <- c
	}
	return o.refuse
}

func (o *owner) Progress(*server.Conn) {
	select {
	case o.progress <- struct{}{}:
	default:
	}
}

func (o *owner) Disconnected(c *server.Conn) { o.gone <- c }

type auth struct {
	id  server.Identity
	err error
}

func (a auth) Authenticate(context.Context) (server.Identity, error) { return a.id, a.err }

type fixture struct {
	*owner
	server *server.Server
	client discoveryv3.AggregatedDiscoveryServiceClient
}

func start(t *testing.T, change func(*server.Options)) *fixture {
	t.Helper()
	dir, err := os.MkdirTemp("", "x") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f := &fixture{owner: &owner{conns: make(chan *server.Conn, 8), progress: make(chan struct{}, 1), gone: make(chan *server.Conn, 8)}}
	o := server.Options{
		Owner: f.owner, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		PushTypes: []string{cds, eds, lds, rds}, FullTypes: []string{cds, lds}, Gate: lds, Warms: map[string]string{cds: eds}, Names: map[string]string{lds: rds},
		Patience: 300 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(server.GRPCOptions()...)
	f.server = server.New(o)
	f.server.Register(g)
	done := make(chan struct{})
	go func() { defer close(done); g.Serve(l) }()
	t.Cleanup(func() { g.Stop(); <-done })
	conn, err := grpc.NewClient("unix://"+filepath.Join(dir, "s"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	f.client = discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	return f
}

func node() *corev3.Node {
	md, err := structpb.NewStruct(map[string]any{"NAMESPACE": "default", "SERVICE_ACCOUNT": "reviews"})
	if err != nil {
		panic(err)
	}
	return &corev3.Node{Id: "sidecar~10.0.0.1~reviews-v1-0.default~default.svc.cluster.local", Metadata: md}
}

// state makes a state of resources "name=version".
func state(revision int64, types map[string]map[string]string) *server.State {
	s := &server.State{Revision: revision, Types: map[string]map[string]*server.Resource{}}
	for t, list := range types {
		s.Types[t] = map[string]*server.Resource{}
		for n, v := range list {
			s.Types[t][n] = &server.Resource{Name: n, Version: v, Body: []byte(v)}
		}
	}
	return s
}

type list = map[string]string

// delta is an incremental client.
type delta struct {
	t         *testing.T
	stream    grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
	responses chan *discoveryv3.DeltaDiscoveryResponse
	ended     chan error
}

func (f *fixture) delta(t *testing.T) *delta {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s, err := f.client.DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	d := &delta{t: t, stream: s, responses: make(chan *discoveryv3.DeltaDiscoveryResponse, 16), ended: make(chan error, 1)}
	go func() {
		for {
			r, err := s.Recv()
			if err != nil {
				d.ended <- err
				return
			}
			d.responses <- r
		}
	}()
	return d
}

func (d *delta) send(r *discoveryv3.DeltaDiscoveryRequest) {
	d.t.Helper()
	if err := d.stream.Send(r); err != nil {
		d.t.Fatal(err)
	}
}

func (d *delta) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	d.t.Helper()
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce})
}

// expect takes the next response: its type, what it adds and removes.
func (d *delta) expect(typeURL string, added list, removed ...string) *discoveryv3.DeltaDiscoveryResponse {
	d.t.Helper()
	select {
	case r := <-d.responses:
		got := list{}
		for _, x := range r.Resources {
			got[x.Name] = x.Version
			if string(x.Resource.Value) != x.Version || x.Resource.TypeUrl != typeURL {
				d.t.Errorf("%s carries %s %q", x.Name, x.Resource.TypeUrl, x.Resource.Value)
			}
		}
		if added == nil {
			added = list{}
		}
		if r.TypeUrl != typeURL || !cmp.Equal(got, added) || !slices.Equal(r.RemovedResources, removed) {
			d.t.Fatalf("got %s %v without %v, want %s %v without %v", server.ShortType(r.TypeUrl), got, r.RemovedResources, server.ShortType(typeURL), added, removed)
		}
		return r
	case err := <-d.ended:
		d.t.Fatalf("the stream ended: %v", err)
	case <-time.After(5 * time.Second):
		d.t.Fatalf("no response; want %s %v", server.ShortType(typeURL), added)
	}
	return nil
}

func (d *delta) silent() {
	d.t.Helper()
	select {
	case r := <-d.responses:
		d.t.Fatalf("unexpected %v", r)
	case <-time.After(50 * time.Millisecond):
	}
}

// settle waits until the connection has a revision in force.
func (f *fixture) settle(t *testing.T, c *server.Conn, revision int64) {
	t.Helper()
	limit := time.After(5 * time.Second)
	for c.Report().Settled != revision {
		select {
		case <-f.progress:
		case <-limit:
			t.Fatalf("not settled: %+v", c.Report())
		}
	}
}

func TestDeltaOrder(t *testing.T) {
	f := start(t, nil)
	d := f.delta(t)
	d.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds})
	c := <-f.conns
	c.Offer(state(1, map[string]map[string]string{cds: {"a": "1"}, eds: {"a": "1"}, lds: {"l": "1"}, rds: {"r": "1"}}))
	d.ack(d.expect(cds, list{"a": "1"}))
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: eds, ResourceNamesSubscribe: []string{"a"}})
	d.ack(d.expect(eds, list{"a": "1"}))
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: lds, ResourceNamesSubscribe: []string{"*"}})
	d.ack(d.expect(lds, list{"l": "1"}))
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: rds, ResourceNamesSubscribe: []string{"r"}})
	d.ack(d.expect(rds, list{"r": "1"}))
	f.settle(t, c, 1)

	// A new cluster, and a route to it: the route waits until the client has taken
	// the cluster, asked for its endpoints and taken them; what is gone goes last.
	c.Offer(state(2, map[string]map[string]string{cds: {"b": "1"}, eds: {"b": "1"}, lds: {"l": "1"}, rds: {"r": "2"}}))
	r := d.expect(cds, list{"b": "1"})
	d.silent()
	d.ack(r)
	d.silent()
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: eds, ResourceNamesSubscribe: []string{"b"}})
	r = d.expect(eds, list{"b": "1"})
	d.silent()
	d.ack(r)
	r = d.expect(rds, list{"r": "2"})
	d.silent()
	if s := c.Report().Settled; s != 1 {
		t.Errorf("revision %d is in force before its routes", s)
	}
	d.ack(r)
	d.ack(d.expect(eds, nil, "a"))
	d.ack(d.expect(cds, nil, "a"))
	f.settle(t, c, 2)

	// A changed cluster is warmed anew: its endpoints are sent again.
	c.Offer(state(3, map[string]map[string]string{cds: {"b": "2"}, eds: {"b": "1"}, lds: {"l": "1"}, rds: {"r": "2"}}))
	d.ack(d.expect(cds, list{"b": "2"}))
	d.ack(d.expect(eds, list{"b": "1"}))
	f.settle(t, c, 3)

	// A new listener with a route table of its own: nothing is settled before the
	// client has asked for the table and taken it.
	c.Offer(state(31, map[string]map[string]string{cds: {"b": "2"}, eds: {"b": "1"}, lds: {"l": "1", "m": "1"}, rds: {"r": "2", "t": "1"}}))
	d.ack(d.expect(lds, list{"m": "1"}))
	d.silent()
	if s := c.Report().Settled; s != 3 {
		t.Errorf("revision %d is in force before its route table is", s)
	}
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: rds, ResourceNamesSubscribe: []string{"t"}})
	r = d.expect(rds, list{"t": "1"})
	d.silent()
	if s := c.Report().Settled; s == 31 {
		t.Errorf("revision %d is in force before its route table is taken", s)
	}
	d.ack(r)
	f.settle(t, c, 31)
	c.Offer(state(32, map[string]map[string]string{cds: {"b": "2"}, eds: {"b": "1"}, lds: {"l": "1"}, rds: {"r": "2"}}))
	d.ack(d.expect(rds, nil, "t"))
	d.ack(d.expect(lds, nil, "m"))
	f.settle(t, c, 32)

	// The same state again, as after an unrelated change: nothing is sent.
	c.Offer(state(40, map[string]map[string]string{cds: {"b": "2"}, eds: {"b": "1"}, lds: {"l": "1"}, rds: {"r": "2"}}))
	f.settle(t, c, 40)
	d.silent()
}

func TestDeltaCoalesces(t *testing.T) {
	f := start(t, nil)
	d := f.delta(t)
	d.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds})
	c := <-f.conns
	c.Offer(state(1, map[string]map[string]string{cds: {"a": "1"}}))
	r := d.expect(cds, list{"a": "1"})
	for i := range int64(5) { // while the client is busy
		c.Offer(state(2+i, map[string]map[string]string{cds: {"a": string(rune('2' + i))}}))
	}
	d.silent()
	d.ack(r)
	d.ack(d.expect(cds, list{"a": "6"}))
	f.settle(t, c, 6)
}

func TestDeltaSubscriptions(t *testing.T) {
	f := start(t, nil)
	d := f.delta(t)
	d.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: rds, ResourceNamesSubscribe: []string{"r", "missing"}})
	c := <-f.conns
	c.Offer(state(1, map[string]map[string]string{rds: {"r": "1", "s": "1"}}))
	d.ack(d.expect(rds, list{"r": "1"}, "missing"))
	d.silent()
	// Names are added to, and what is asked for again is sent again; even with the
	// answer to an old response.
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: rds, ResourceNamesSubscribe: []string{"s", "r"}, ResponseNonce: "old"})
	d.ack(d.expect(rds, list{"r": "1", "s": "1"}))
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: rds, ResourceNamesUnsubscribe: []string{"s"}})
	f.settle(t, c, 1)
	c.Offer(state(2, map[string]map[string]string{rds: {"r": "1", "s": "2", "missing": "1"}}))
	d.ack(d.expect(rds, list{"missing": "1"}))
	f.settle(t, c, 2)
}

func TestDeltaReconnect(t *testing.T) {
	f := start(t, nil)
	d := f.delta(t)
	d.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds, InitialResourceVersions: list{"a": "1", "b": "1", "gone": "1"}})
	c := <-f.conns
	d.silent() // nothing is known yet: nothing is withdrawn
	c.Offer(state(1, map[string]map[string]string{cds: {"a": "1", "b": "2"}}))
	d.ack(d.expect(cds, list{"b": "2"}))
	d.ack(d.expect(cds, nil, "gone"))
	f.settle(t, c, 1)
}

func TestNACK(t *testing.T) {
	f := start(t, nil)
	d := f.delta(t)
	d.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds})
	c := <-f.conns
	c.Offer(state(1, map[string]map[string]string{cds: {"good": "1", "bad": "1"}}))
	r := d.expect(cds, list{"good": "1", "bad": "1"})
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: cds, ResponseNonce: r.Nonce, ErrorDetail: &statuspb.Status{Message: "bad: no"}})
	f.settle(t, c, 1)
	refusals := c.Report().Refusals()
	if len(refusals) != 1 || refusals[0].Name != "bad" || refusals[0].Message != "bad: no" || refusals[0].Version != "1" || refusals[0].Revision != 1 {
		t.Errorf("refusals %+v", refusals)
	}
	d.silent() // it is not sent again
	c.Offer(state(2, map[string]map[string]string{cds: {"good": "1", "bad": "2"}}))
	d.ack(d.expect(cds, list{"bad": "2"}))
	f.settle(t, c, 2)
	if len(c.Report().Refusals()) != 0 {
		t.Errorf("refusals stay: %+v", c.Report().Refusals())
	}
}

func TestWorld(t *testing.T) {
	f := start(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	s, err := f.client.StreamAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	responses := make(chan *discoveryv3.DiscoveryResponse, 8)
	go func() {
		for {
			r, err := s.Recv()
			if err != nil {
				return
			}
			responses <- r
		}
	}()
	send := func(r *discoveryv3.DiscoveryRequest) {
		t.Helper()
		if err := s.Send(r); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(typeURL string, bodies ...string) *discoveryv3.DiscoveryResponse {
		t.Helper()
		select {
		case r := <-responses:
			var got []string
			for _, x := range r.Resources {
				got = append(got, string(x.Value))
			}
			if r.TypeUrl != typeURL || !slices.Equal(got, bodies) {
				t.Fatalf("got %s %v, want %s %v", r.TypeUrl, got, typeURL, bodies)
			}
			return r
		case <-time.After(5 * time.Second):
			t.Fatalf("no response; want %s %v", typeURL, bodies)
		}
		return nil
	}
	silent := func() {
		t.Helper()
		select {
		case r := <-responses:
			t.Fatalf("unexpected %v", r)
		case <-time.After(50 * time.Millisecond):
		}
	}
	ack := func(r *discoveryv3.DiscoveryResponse, names ...string) {
		t.Helper()
		send(&discoveryv3.DiscoveryRequest{TypeUrl: r.TypeUrl, ResponseNonce: r.Nonce, VersionInfo: r.VersionInfo, ResourceNames: names})
	}
	send(&discoveryv3.DiscoveryRequest{Node: node(), TypeUrl: cds})
	c := <-f.conns
	c.Offer(state(1, map[string]map[string]string{cds: {"a": "a1"}, eds: {"a": "ea1"}}))
	ack(expect(cds, "a1"))
	send(&discoveryv3.DiscoveryRequest{TypeUrl: eds, ResourceNames: []string{"a"}})
	first := expect(eds, "ea1")
	ack(first, "a")
	f.settle(t, c, 1)

	// Additions come with what is still used, removals in a response of their own.
	c.Offer(state(2, map[string]map[string]string{cds: {"b": "b1"}, eds: {"b": "eb1"}}))
	ack(expect(cds, "a1", "b1"))
	send(&discoveryv3.DiscoveryRequest{TypeUrl: eds, ResponseNonce: first.Nonce, ResourceNames: []string{"a", "b"}})
	r := expect(eds, "eb1")
	ack(first, "c") // stale: an answer to what was superseded changes nothing
	ack(r, "a", "b")
	ack(expect(cds, "b1"))
	f.settle(t, c, 2)
	send(&discoveryv3.DiscoveryRequest{TypeUrl: eds, ResponseNonce: "strange", ResourceNames: []string{"c"}})
	c.Offer(state(3, map[string]map[string]string{cds: {"b": "b1"}, eds: {"b": "eb2", "c": "ec1"}}))
	r = expect(eds, "eb2")
	// All names gone: the client wants no endpoints any more.
	send(&discoveryv3.DiscoveryRequest{TypeUrl: eds, ResponseNonce: r.Nonce})
	f.settle(t, c, 3)
	c.Offer(state(4, map[string]map[string]string{cds: {}, eds: {"b": "eb3"}}))
	ack(expect(cds))
	f.settle(t, c, 4)
	silent()
}

func TestRefusedStreams(t *testing.T) {
	reviews := server.Identity{Namespace: "default", ServiceAccount: "reviews"}
	for _, tc := range []struct {
		name string
		auth server.Authenticator
		req  *discoveryv3.DeltaDiscoveryRequest
		own  error
		want codes.Code
	}{
		{"a stranger", auth{err: errors.New("no token")}, &discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds}, nil, codes.Unauthenticated},
		{"another's node", auth{id: server.Identity{Namespace: "default", ServiceAccount: "ratings"}}, &discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds}, nil, codes.PermissionDenied},
		{"another namespace's node", auth{id: server.Identity{Namespace: "other", ServiceAccount: "reviews"}}, &discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds}, nil, codes.PermissionDenied},
		{"no node", auth{id: reviews}, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: cds}, nil, codes.InvalidArgument},
		{"refused by the owner", auth{id: reviews}, &discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds}, errors.New("no"), codes.InvalidArgument},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := start(t, func(o *server.Options) { o.Auth = tc.auth; o.Owner.(*owner).refuse = tc.own })
			d := f.delta(t)
			if err := d.stream.Send(tc.req); err != nil && !errors.Is(err, io.EOF) { // it may be refused already
				t.Fatal(err)
			}
			select {
			case err := <-d.ended:
				if status.Code(err) != tc.want {
					t.Errorf("%v, want %v", err, tc.want)
				}
			case <-time.After(5 * time.Second):
				t.Error("the stream goes on")
			}
		})
	}
}

// TestUnknownType: a client of a later version asks for more than is known here, and
// gets the rest.
func TestUnknownType(t *testing.T) {
	f := start(t, nil)
	d := f.delta(t)
	for _, typeURL := range []string{"x/y", cds, "x/y"} {
		d.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: typeURL})
	}
	(<-f.conns).Offer(state(1, map[string]map[string]string{cds: {"a": "a1"}, "x/y": {"b": "b1"}}))
	d.ack(d.expect(cds, list{"a": "a1"}))
	d.silent()
}

// TestLast: what tells that all is in force comes when it is, and not before the
// client has asked for the tables that it will find in its listeners.
func TestLast(t *testing.T) {
	const last = "lateen/last"
	f := start(t, func(o *server.Options) { o.PushTypes, o.Last = append(o.PushTypes, last), last })
	d := f.delta(t)
	d.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: last, ResourceNamesSubscribe: []string{"q"}})
	for _, typeURL := range []string{cds, lds} {
		d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL})
	}
	c := <-f.conns
	c.Offer(state(1, map[string]map[string]string{cds: {"a": "a1"}, eds: {"a": "e1"}, lds: {"l": "l1"}, rds: {"r": "r1"}, last: {"q": "yes"}}))
	clusters := d.expect(cds, list{"a": "a1"})
	d.silent()
	d.ack(clusters)
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: eds, ResourceNamesSubscribe: []string{"a"}})
	d.ack(d.expect(eds, list{"a": "e1"}))
	listeners := d.expect(lds, list{"l": "l1"})
	d.silent()
	d.ack(listeners)
	d.silent() // the table that it names has not been asked for
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: rds, ResourceNamesSubscribe: []string{"r"}})
	routes := d.expect(rds, list{"r": "r1"})
	d.silent()
	d.ack(routes)
	d.ack(d.expect(last, list{"q": "yes"}))
	if got, _ := c.Subscribed(last); len(got) != 1 || got[0] != "q" {
		t.Errorf("subscribed to %v", got)
	}
	f.settle(t, c, 1)
}

func TestDisconnected(t *testing.T) {
	f := start(t, nil)
	d := f.delta(t)
	d.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds})
	c := <-f.conns
	if err := d.stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := <-d.ended; err == nil || status.Code(err) != codes.Unknown && !errors.Is(err, context.Canceled) && err.Error() != "EOF" {
		t.Errorf("the stream ends with %v", err)
	}
	select {
	case got := <-f.gone:
		if got != c {
			t.Error("another connection is gone")
		}
	case <-time.After(5 * time.Second):
		t.Error("the owner is not told")
	}
}

// A client that never asks for the endpoints of a cluster gets its routes all the
// same, after a while.
func TestGateOpens(t *testing.T) {
	f := start(t, nil)
	d := f.delta(t)
	d.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds})
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: eds, ResourceNamesSubscribe: []string{"other"}})
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: rds, ResourceNamesSubscribe: []string{"r"}})
	c := <-f.conns
	c.Offer(state(1, map[string]map[string]string{cds: {"a": "1"}, eds: {"a": "1"}, rds: {"r": "1"}}))
	started := time.Now()
	d.ack(d.expect(cds, list{"a": "1"}))
	d.ack(d.expect(eds, nil, "other"))
	d.ack(d.expect(rds, list{"r": "1"}))
	if took := time.Since(started); took < 200*time.Millisecond {
		t.Errorf("the routes did not wait: %s", took)
	}
	f.settle(t, c, 1)
}

// TestWarmingClient: an Envoy answers for clusters when they are warm, and for that
// it needs their endpoints, even if there are newer clusters by then.
func TestWarmingClient(t *testing.T) {
	f := start(t, nil)
	d := f.delta(t)
	d.send(&discoveryv3.DeltaDiscoveryRequest{Node: node(), TypeUrl: cds, ResourceNamesSubscribe: []string{"*"}})
	c := <-f.conns
	c.Offer(state(1, map[string]map[string]string{cds: {"a": "1"}, eds: {"a": "1"}}))
	first := d.expect(cds, list{"a": "1"}) // not answered yet
	c.Offer(state(2, map[string]map[string]string{cds: {"a": "1", "b": "1"}, eds: {"a": "1", "b": "1"}}))
	d.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: eds, ResourceNamesSubscribe: []string{"a"}})
	d.ack(d.expect(eds, list{"a": "1"}))
	d.ack(first)
	d.ack(d.expect(cds, list{"b": "1"}))
}
