package observe_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/observe"
	"github.com/lateen-mesh/lateen/internal/proxy/report"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// serve gives a connection to a hub whose callers are of the namespace default.
func serve(t *testing.T, register func(*grpc.Server)) *grpc.ClientConn {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	g := grpc.NewServer()
	register(g)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := g.Serve(l); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() { g.Stop(); <-done })
	conn, err := grpc.NewClient("passthrough:///hub", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func inDefault(context.Context) (string, error) { return "default", nil }

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// metrics are a proxy's, with one series of its own and one that it cannot know.
func metrics(t *testing.T) (*prometheus.Registry, *prometheus.CounterVec, *prometheus.HistogramVec) {
	t.Helper()
	labels := []string{"reporter", "source_workload_namespace", "destination_workload_namespace"}
	reg := prometheus.NewRegistry()
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "istio_requests_total"}, labels)
	duration := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "istio_request_duration_milliseconds", Buckets: wire.Bounds()}, labels)
	other := prometheus.NewCounter(prometheus.CounterOpts{Name: "go_info"})
	reg.MustRegister(requests, duration, other)
	return reg, requests, duration
}

// TestReports: what a proxy counts arrives, once, whatever becomes of streams; what it
// cannot have seen does not.
func TestReports(t *testing.T) {
	store := history.New(history.Options{})
	hub := observe.New(store, nil)
	conn := serve(t, func(g *grpc.Server) { hub.Register(g, inDefault) })
	reg, requests, duration := metrics(t)
	r := report.New(report.Options{Hello: wire.Hello{Proxy: "reviews-v1-0.default"}, Metrics: reg, Every: 10 * time.Millisecond})
	total := func() (n, micros, bucket uint64) {
		store.Close()
		list, _ := store.Between(time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		for _, g := range list {
			n, micros, bucket = n+g.Values[wire.Requests], micros+g.Values[wire.DurationMicros], bucket+g.Values[wire.DurationBuckets+3]
		}
		return n, micros, bucket
	}
	for round := range uint64(3) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx, conn) }()
		requests.WithLabelValues("destination", "shop", "default").Add(7)
		requests.WithLabelValues("destination", "shop", "bank").Add(1000) // of another namespace
		requests.WithLabelValues("source", "bank", "default").Add(1000)
		duration.WithLabelValues("destination", "shop", "default").Observe(8.5)
		eventually(t, "the report", func() bool {
			n, micros, bucket := total()
			return n == 7*(round+1) && micros == 8500*(round+1) && bucket == round+1
		})
		if hub.Reporting() != 1 {
			t.Errorf("%d report", hub.Reporting())
		}
		cancel()
		<-done
		eventually(t, "the end", func() bool { return hub.Reporting() == 0 })
	}
	requests.DeleteLabelValues("destination", "shop", "default") // it was idle, and comes back
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go r.Run(ctx, conn)
	time.Sleep(50 * time.Millisecond)
	requests.WithLabelValues("destination", "shop", "default").Add(2)
	eventually(t, "the report", func() bool { n, _, _ := total(); return n == 23 })
}

// TestOlderControlPlane: a proxy goes on without one that knows the service.
func TestOlderControlPlane(t *testing.T) {
	conn := serve(t, func(*grpc.Server) {})
	reg, _, _ := metrics(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		report.New(report.Options{Hello: wire.Hello{Proxy: "a.default"}, Metrics: reg}).Run(t.Context(), conn)
	}()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("it asks again and again")
	}
}

// TestNewerProxy: messages of types that the control plane does not know are skipped;
// strangers and liars are refused.
func TestStreams(t *testing.T) {
	store := history.New(history.Options{})
	hub := observe.New(store, nil)
	conn := serve(t, func(g *grpc.Server) { hub.Register(g, inDefault) })
	open := func(first string, body []byte) grpc.ClientStream {
		s, err := conn.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, wire.ObserveMethod)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SendMsg(&anypb.Any{TypeUrl: first, Value: body}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	ends := func(s grpc.ClientStream) codes.Code {
		var m anypb.Any
		return status.Code(s.RecvMsg(&m))
	}
	if c := ends(open(wire.HelloType, wire.Hello{Proxy: "a.bank"}.Marshal())); c != codes.PermissionDenied {
		t.Errorf("a proxy of another namespace: %s", c)
	}
	if c := ends(open(wire.ReportType, nil)); c != codes.InvalidArgument {
		t.Errorf("a report without hello: %s", c)
	}
	s := open(wire.HelloType, wire.Hello{Proxy: "a.default"}.Marshal())
	if err := s.SendMsg(&anypb.Any{TypeUrl: "type.googleapis.com/lateen.wire.v2.News", Value: []byte("??")}); err != nil {
		t.Fatal(err)
	}
	labels := []wire.Label{{Name: "destination_workload_namespace", Value: "default"}, {Name: "reporter", Value: "destination"}}
	row := wire.Row{Set: 1, Labels: labels, Cells: []wire.Cell{{Column: wire.Requests, Delta: 3}}}
	if err := s.SendMsg(&anypb.Any{TypeUrl: wire.ReportType, Value: wire.Report{Rows: []wire.Row{row, {Set: 2, Cells: row.Cells}}}.Marshal()}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the report", func() bool {
		store.Close()
		list, _ := store.Between(time.Now().Add(-time.Hour), time.Now().Add(time.Hour))
		return len(list) == 1 && list[0].Values[wire.Requests] == 3
	})
	if err := s.SendMsg(&anypb.Any{TypeUrl: wire.ReportType, Value: []byte{0xff}}); err != nil {
		t.Fatal(err)
	}
	if c := ends(s); c != codes.InvalidArgument {
		t.Errorf("garbage: %s", c)
	}
}

// echo is a proxy's tap that answers at once.
type echo struct {
	started chan string
	events  chan []byte
}

func (e *echo) Start(b []byte) error  { e.started <- "start " + string(b); return nil }
func (e *echo) Stop(b []byte) error   { e.started <- "stop " + string(b); return nil }
func (e *echo) Reset()                {}
func (e *echo) Events() <-chan []byte { return e.events }

// TestTap: proxies that come later are asked too, others are not, and what a proxy
// says comes under the name that it has proved.
func TestTap(t *testing.T) {
	hub := observe.New(history.New(history.Options{}), nil)
	conn := serve(t, func(g *grpc.Server) { hub.Register(g, inDefault) })
	reg, _, _ := metrics(t)
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan *wire.TapEvent, 10)
	tapped := make(chan error)
	go func() {
		tapped <- hub.Tap(ctx, wire.TapRequest{PathPrefix: "/a"}, func(p string) bool { return p == "a.default" }, func(e *wire.TapEvent) bool { got <- e; return true })
	}()
	a, b := &echo{make(chan string, 4), make(chan []byte, 4)}, &echo{make(chan string, 4), make(chan []byte, 4)}
	go report.New(report.Options{Hello: wire.Hello{Proxy: "b.default"}, Metrics: reg, Tap: b}).Run(t.Context(), conn)
	go report.New(report.Options{Hello: wire.Hello{Proxy: "a.default"}, Metrics: reg, Tap: a}).Run(t.Context(), conn)
	if s := <-a.started; !strings.Contains(s, `"pathPrefix":"/a"`) {
		t.Error(s)
	}
	b.events <- []byte(`{"tap":1,"path":"/forged","proxy":"a.default"}`)
	a.events <- []byte(`{"tap":1,"path":"/a/1","proxy":"somebody.else","new":true}`)
	e := <-got
	if e.Path != "/a/1" || e.Proxy != "a.default" {
		t.Errorf("%+v", e)
	}
	cancel()
	if err := <-tapped; err != nil {
		t.Error(err)
	}
	if s := <-a.started; s != `stop {"id":1}` {
		t.Error(s)
	}
	if n := len(b.started); n != 0 || slices.Contains([]int{1, 2}, len(got)) {
		t.Errorf("the other proxy was asked %d times; %d more events", n, len(got))
	}
}
