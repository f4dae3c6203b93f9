package tap

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/wire"
)

func exchange() (*stream.Stream, *stream.Outcome) {
	s := &stream.Stream{Start: time.Unix(1_800_000_000, 0), Conn: &stream.Conn{
		Dir: stream.Inbound, Remote: netip.MustParseAddrPort("10.0.0.7:4567"),
		TLS: &stream.TLS{Mutual: true, PeerURI: "spiffe://cluster.local/ns/default/sa/productpage", LocalURI: "spiffe://cluster.local/ns/default/sa/reviews"},
	}}
	r := &s.Request
	r.Method, r.Path, r.Authority = []byte("GET"), []byte("/reviews/0?x=1"), []byte("reviews:9080")
	for _, h := range [][2]string{
		{"Authorization", "Bearer hunter2"}, {"Cookie", "id=hunter2"}, {"X-Auth-Token", "hunter2"}, {"X-Api-Key", "hunter2"}, {"end-user", "jason"},
		{"x-forwarded-client-cert", "Hash=hunter2"},
	} {
		r.AddRaw([]byte(h[0]), []byte(h[1]))
	}
	s.Upstream = stream.Upstream{
		Cluster: "inbound|9080||", Host: netip.MustParseAddrPort("10.0.0.9:9080"),
		ClusterNode: &config.Cluster{Metadata: config.Metadata{Services: []config.Service{{Host: "reviews.default.svc.cluster.local"}}}},
	}
	*s.Slot(0) = &peermeta.Peer{Workload: "productpage-v1", Namespace: "default"}
	resp := &stream.Response{Status: 200}
	resp.AddRaw([]byte("Set-Cookie"), []byte("id=hunter2"))
	resp.AddRaw([]byte("server"), []byte("demo"))
	return s, &stream.Outcome{Status: 200, BytesSent: 295, Duration: 3_400_000, Response: resp}
}

func newTap() *Tap {
	return New("reviews-v1-0.default", &peermeta.Peer{Workload: "reviews-v1", Namespace: "default"}, 0)
}

func start(t testing.TB, x *Tap, r wire.TapRequest) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Start(text); err != nil {
		t.Fatal(err)
	}
}

func TestEvent(t *testing.T) {
	x := newTap()
	s, o := exchange()
	x.Done(s, o) // nobody watches
	start(t, x, wire.TapRequest{ID: 5})
	x.Done(s, o)
	if n := len(x.events); n != 1 {
		t.Fatalf("%d events", n)
	}
	text := <-x.events
	var e wire.TapEvent
	if err := wire.UnmarshalTap(text, &e); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "hunter2") {
		t.Errorf("secrets are shown: %s", text)
	}
	if e.Tap != 5 || e.Path != "/reviews/0?x=1" || e.Source.Workload != "productpage-v1" || e.Destination.Workload != "reviews-v1" || !e.MTLS ||
		e.Source.Principal != "spiffe://cluster.local/ns/default/sa/productpage" || e.Destination.Service != "reviews.default.svc.cluster.local" || e.DurationMs != 3.4 {
		t.Errorf("%s", text)
	}
	if e.RequestHeaders[4] != [2]string{"end-user", "jason"} || e.RequestHeaders[0] != [2]string{"Authorization", Redacted} {
		t.Errorf("%v", e.RequestHeaders)
	}
}

func TestWants(t *testing.T) {
	s, o := exchange()
	for _, c := range []struct {
		name string
		r    wire.TapRequest
		want bool
	}{
		{"everything", wire.TapRequest{}, true},
		{"method", wire.TapRequest{Method: "get"}, true},
		{"another method", wire.TapRequest{Method: "POST"}, false},
		{"path", wire.TapRequest{PathPrefix: "/reviews"}, true},
		{"another path", wire.TapRequest{PathPrefix: "/ratings"}, false},
		{"status", wire.TapRequest{StatusFrom: 200, StatusTo: 299}, true},
		{"another status", wire.TapRequest{StatusFrom: 500, StatusTo: 599}, false},
		{"header", wire.TapRequest{Headers: [][2]string{{"end-user", ""}}}, true},
		{"header with value", wire.TapRequest{Headers: [][2]string{{"end-user", "jason"}}}, true},
		{"header with another value", wire.TapRequest{Headers: [][2]string{{"end-user", "mary"}}}, false},
		{"no such header", wire.TapRequest{Headers: [][2]string{{"x-none", ""}}}, false},
		{"service", wire.TapRequest{To: "reviews"}, true},
		{"service in full", wire.TapRequest{To: "reviews.default.svc.cluster.local"}, true},
		{"a part of a name", wire.TapRequest{To: "review"}, false},
	} {
		x := newTap()
		start(t, x, c.r)
		if x.Done(s, o); (len(x.events) == 1) != c.want {
			t.Errorf("%s: %d events", c.name, len(x.events))
		}
	}
}

// TestBounds: a tap gives no more than it was asked for, tells what it kept back, and
// ends; a watcher that does not read costs nobody anything.
func TestBounds(t *testing.T) {
	x := newTap()
	s, o := exchange()
	start(t, x, wire.TapRequest{ID: 1, MaxRPS: 10})
	for range 50 {
		x.Done(s, o)
	}
	if n := len(x.events); n < 10 || n > 12 {
		t.Errorf("%d events of 50", n)
	}
	time.Sleep(200 * time.Millisecond)
	n := len(x.events)
	x.Done(s, o)
	for range n {
		<-x.events
	}
	var e wire.TapEvent
	if err := wire.UnmarshalTap(<-x.events, &e); err != nil || e.Dropped < 38 {
		t.Errorf("%d were dropped: %v", e.Dropped, err)
	}
	if err := x.Stop([]byte(`{"id":1}`)); err != nil || x.active.Load() != nil {
		t.Errorf("it goes on: %v", err)
	}
	start(t, x, wire.TapRequest{ID: 2, MaxRPS: 1e9})
	for range queue + 100 {
		x.Done(s, o)
	}
	if x.Reset(); x.active.Load() != nil {
		t.Error("it goes on")
	}
	for i := range uint64(20) {
		start(t, x, wire.TapRequest{ID: i})
	}
	if n := len(*x.active.Load()); n != maxTaps {
		t.Errorf("%d taps", n)
	}
	if x.Start([]byte("{")) == nil {
		t.Error("garbage is taken")
	}
}

// BenchmarkOff is what every request pays while nobody taps.
func BenchmarkOff(b *testing.B) {
	x := newTap()
	s, o := exchange()
	b.ReportAllocs()
	for b.Loop() {
		x.Done(s, o)
	}
}

// BenchmarkEvent is what one tapped request costs.
func BenchmarkEvent(b *testing.B) {
	x := newTap()
	s, o := exchange()
	start(b, x, wire.TapRequest{MaxRPS: maxRPS})
	w := (*x.active.Load())[0]
	b.ReportAllocs()
	for b.Loop() {
		w.tokens = 1
		x.Done(s, o)
		select {
		case <-x.events:
		default:
		}
	}
}
