package registry

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestProtocolOf(t *testing.T) {
	for _, c := range []struct {
		transport, app, name string
		want                 Protocol
		ok                   bool
	}{
		{"TCP", "", "http", HTTP, true},
		{"TCP", "", "http-web", HTTP, true},
		{"", "", "HTTP2-x", HTTP2, true},
		{"TCP", "", "grpc", GRPC, true},
		{"TCP", "", "grpc-web", GRPCWeb, true},
		{"TCP", "", "grpc-web-x", GRPCWeb, true},
		{"TCP", "", "grpc-webby", GRPC, true},
		{"TCP", "", "https-a", HTTPS, true},
		{"TCP", "", "tls", TLS, true},
		{"TCP", "", "tcp-mongo", TCP, true},
		{"TCP", "", "mongo", Mongo, true},
		{"TCP", "", "httpx", Auto, true},
		{"TCP", "", "web", Auto, true},
		{"TCP", "", "", Auto, true},
		{"UDP", "http", "http", UDP, true},
		{"TCP", "http", "tcp", HTTP, true},
		{"TCP", "kubernetes.io/h2c", "tcp", HTTP2, true},
		{"TCP", "kubernetes.io/ws", "tcp", HTTP, true},
		{"TCP", "example.com/own", "http", Auto, false},
	} {
		t.Run(fmt.Sprint(c.transport, ",", c.app, ",", c.name), func(t *testing.T) {
			if got, ok := ProtocolOf(c.transport, c.app, c.name); got != c.want || ok != c.ok {
				t.Errorf("got %s, %t, want %s, %t", got, ok, c.want, c.ok)
			}
		})
	}
}

func TestEndpoints(t *testing.T) {
	addr := netip.MustParseAddr
	x := NewIndex([]Workload{
		{Name: "b", Namespace: "n", Labels: map[string]string{"app": "a", "v": "2"}, Addr: addr("10.0.0.2"), Ready: true, Ports: []Port{{Name: "web", Number: 81}}},
		{Name: "a", Namespace: "n", Labels: map[string]string{"app": "a"}, Addr: addr("10.0.0.1"), Ready: true, Ports: []Port{{Name: "web", Number: 80}}},
		{Name: "c", Namespace: "n", Labels: map[string]string{"app": "a"}, Addr: addr("10.0.0.3"), Ready: false},
		{Name: "d", Namespace: "n", Labels: map[string]string{"app": "a"}, Ready: true},
		{Name: "e", Namespace: "n", Labels: map[string]string{"app": "b"}, Addr: addr("10.0.0.5"), Ready: true},
		{Name: "f", Namespace: "m", Labels: map[string]string{"app": "a"}, Addr: addr("10.0.0.6"), Ready: true},
	})
	for _, c := range []struct {
		name string
		svc  Service
		port ServicePort
		want []string
	}{
		{"by number", Service{Selector: map[string]string{"app": "a"}}, ServicePort{TargetNumber: 8080}, []string{"10.0.0.1:8080", "10.0.0.2:8080"}},
		{"by name", Service{Selector: map[string]string{"app": "a"}}, ServicePort{TargetName: "web"}, []string{"10.0.0.1:80", "10.0.0.2:81"}},
		{"unknown name", Service{Selector: map[string]string{"app": "a"}}, ServicePort{TargetName: "nope"}, nil},
		{"not ready", Service{Selector: map[string]string{"app": "a"}, PublishNotReady: true}, ServicePort{TargetNumber: 1}, []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"}},
		{"two labels", Service{Selector: map[string]string{"app": "a", "v": "2"}}, ServicePort{TargetNumber: 1}, []string{"10.0.0.2:1"}},
		{"no selector", Service{}, ServicePort{TargetNumber: 1}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.svc.Namespace = "n"
			var got []string
			for _, e := range x.Endpoints(&c.svc, &c.port) {
				got = append(got, e.Addr.String())
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAllocate(t *testing.T) {
	cidr := netip.MustParsePrefix("10.96.0.0/16")
	service := func(name, ip string) Service { return Service{Namespace: "n", Name: name, ClusterIP: ip} }
	services := []Service{service("a", ""), service("b", "10.96.1.1"), service("c", "10.96.1.1"), service("d", "None"), service("e", "192.0.2.1"), service("f", "junk")}
	first := Allocate(nil, cidr, services)
	if got := first["n/b"]; got != netip.MustParseAddr("10.96.1.1") {
		t.Errorf("b asked for 10.96.1.1 and has %s", got)
	}
	if got := first["n/e"]; got != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("e asked for 192.0.2.1 and has %s", got)
	}
	if _, ok := first["n/d"]; ok {
		t.Error("a headless service has an address")
	}
	seen := map[netip.Addr]string{}
	for key, a := range first {
		if seen[a] != "" {
			t.Errorf("%s and %s share %s", key, seen[a], a)
		}
		seen[a] = key
	}
	if len(first) != 5 {
		t.Errorf("%d addresses, want 5", len(first))
	}
	shuffled := append([]Service(nil), services...)
	for range 5 {
		rand.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		if diff := cmp.Diff(first, Allocate(nil, cidr, shuffled), cmpopts.EquateComparable(netip.Addr{})); diff != "" {
			t.Fatalf("the order changes addresses:\n%s", diff)
		}
	}
	// A service keeps its address when others come and go, and loses it to one that
	// asks for it.
	later := Allocate(first, cidr, append(services[:1:1], service("g", first["n/f"].String()), service("f", "")))
	if later["n/a"] != first["n/a"] {
		t.Errorf("a moved from %s to %s", first["n/a"], later["n/a"])
	}
	if later["n/g"] != first["n/f"] || later["n/f"] == first["n/f"] {
		t.Errorf("g has %s and f has %s, want g to have %s", later["n/g"], later["n/f"], first["n/f"])
	}
}

func TestAllocateExhausted(t *testing.T) {
	var services []Service
	for i := range 5 {
		services = append(services, Service{Namespace: "n", Name: fmt.Sprint(i)})
	}
	got := Allocate(nil, netip.MustParsePrefix("10.0.0.0/29"), services)
	if len(got) != 5 {
		t.Errorf("%d of 6 addresses given away, want 5", len(got))
	}
	got = Allocate(nil, netip.MustParsePrefix("10.0.0.0/30"), services)
	if len(got) != 2 {
		t.Errorf("%d addresses of a range of 2, want 2: %v", len(got), got)
	}
	for _, a := range got {
		if a == netip.MustParseAddr("10.0.0.0") || a == netip.MustParseAddr("10.0.0.3") {
			t.Errorf("%s is the first or last address", a)
		}
	}
}

func BenchmarkAllocate(b *testing.B) {
	var services []Service
	for i := range 1000 {
		services = append(services, Service{Namespace: "n", Name: fmt.Sprint(i)})
	}
	cidr := netip.MustParsePrefix("10.96.0.0/16")
	prior := Allocate(nil, cidr, services)
	b.ReportAllocs()
	for b.Loop() {
		Allocate(prior, cidr, services)
	}
}
