package registry

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func endpointList(x *Index, s *Service, p *ServicePort) []string {
	var got []string
	for _, e := range x.Endpoints(s, p) {
		got = append(got, e.Workload.Name+"="+e.Addr.String())
	}
	return got
}

// TestMemberships: what a workload says of itself wins over selectors.
func TestMemberships(t *testing.T) {
	addr := netip.MustParseAddr
	labels := map[string]string{"app": "a"}
	member := func(service, ip string, h Health, ports ...Port) Membership {
		return Membership{Service: service, Addr: addr(ip), Ports: ports, Health: h}
	}
	http, grpc := Port{Name: "http", Number: 8080}, Port{Name: "grpc", Number: 9090}
	svc := Service{Namespace: "n", Name: "a", Selector: labels}
	for _, c := range []struct {
		name      string
		workloads []Workload
		port      ServicePort
		want      []string
		members   int
	}{
		{"explicit", []Workload{
			{Name: "y", Namespace: "n", Addr: addr("10.0.0.2"), Serves: []Membership{member("n/a", "10.0.0.2", Healthy, http)}},
			{Name: "x", Namespace: "n", Addr: addr("10.0.0.1"), Serves: []Membership{member("n/b", "10.0.0.1", Healthy, http), member("n/a", "10.0.0.1", Healthy, grpc, http)}},
		}, ServicePort{Name: "http", TargetNumber: 1}, []string{"x=10.0.0.1:8080", "y=10.0.0.2:8080"}, 2},
		{"a selected workload that is no member", []Workload{
			{Name: "x", Namespace: "n", Labels: labels, Ready: true, Addr: addr("10.0.0.1"), Serves: []Membership{}},
		}, ServicePort{Name: "http", TargetNumber: 1}, nil, 0},
		{"a selected workload that is no member, beside one that is found by labels", []Workload{
			{Name: "x", Namespace: "n", Labels: labels, Ready: true, Addr: addr("10.0.0.1"), Serves: []Membership{}},
			{Name: "y", Namespace: "n", Labels: labels, Ready: true, Addr: addr("10.0.0.2")},
		}, ServicePort{Name: "http", TargetNumber: 1}, []string{"y=10.0.0.2:1"}, 1},
		{"both ways", []Workload{
			{Name: "x", Namespace: "n", Labels: labels, Ready: true, Addr: addr("10.0.0.1")},
			{Name: "y", Namespace: "n", Addr: addr("10.0.0.2"), Serves: []Membership{member("n/a", "10.0.0.2", Healthy, http)}},
		}, ServicePort{Name: "http", TargetNumber: 1}, []string{"y=10.0.0.2:8080", "x=10.0.0.1:1"}, 2},
		{"another namespace", []Workload{
			{Name: "x", Namespace: "m", Addr: addr("10.0.0.1"), Serves: []Membership{member("n/a", "10.0.0.1", Healthy, http)}},
		}, ServicePort{Name: "http"}, []string{"x=10.0.0.1:8080"}, 1},
		{"the address of the membership", []Workload{
			{Name: "x", Namespace: "n", Addr: addr("10.0.0.1"), Serves: []Membership{member("n/a", "fd00::1", Healthy, http)}},
		}, ServicePort{Name: "http"}, []string{"x=[fd00::1]:8080"}, 1},
		{"a port that it does not have", []Workload{
			{Name: "x", Namespace: "n", Serves: []Membership{member("n/a", "10.0.0.1", Healthy, http)}},
		}, ServicePort{Name: "grpc"}, nil, 1},
		{"healthy ones before draining ones", []Workload{
			{Name: "x", Namespace: "n", Serves: []Membership{member("n/a", "10.0.0.1", Draining, http)}},
			{Name: "y", Namespace: "n", Serves: []Membership{member("n/a", "10.0.0.2", Healthy, http)}},
			{Name: "z", Namespace: "n", Serves: []Membership{member("n/a", "10.0.0.3", Unready, http)}},
		}, ServicePort{Name: "http"}, []string{"y=10.0.0.2:8080"}, 3},
		{"only draining ones", []Workload{
			{Name: "x", Namespace: "n", Serves: []Membership{member("n/a", "10.0.0.1", Draining, http)}},
			{Name: "z", Namespace: "n", Serves: []Membership{member("n/a", "10.0.0.3", Unready, http)}},
		}, ServicePort{Name: "http"}, []string{"x=10.0.0.1:8080"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := NewIndex(c.workloads)
			if diff := cmp.Diff(c.want, endpointList(x, &svc, &c.port)); diff != "" {
				t.Error(diff)
			}
			if n := len(x.Members(&svc)); n != c.members {
				t.Errorf("%d members, want %d", n, c.members)
			}
		})
	}
}

func TestAt(t *testing.T) {
	a := netip.MustParseAddr("10.0.0.1")
	x := NewIndex([]Workload{{Name: "b", Namespace: "n", Addr: a}, {Name: "a", Namespace: "n", Addr: a}, {Name: "c", Namespace: "m", Addr: a}})
	if w := x.At("n", a); w == nil || w.Name != "b" {
		t.Errorf("got %v", w)
	}
	if x.At("n", a.Next()) != nil || x.At("o", a) != nil {
		t.Error("found what is not there")
	}
}

// TestSelectedIndex: the index of labels finds what a search finds.
func TestSelectedIndex(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var list []Workload
	for i := range 300 {
		labels := map[string]string{}
		for _, k := range []string{"app", "version", "tier"} {
			if random.IntN(4) > 0 {
				labels[k] = fmt.Sprint(random.IntN(5))
			}
		}
		list = append(list, Workload{Name: fmt.Sprint("w", i), Namespace: "n", Labels: labels})
	}
	x := NewIndex(list)
	for range 200 {
		selector := map[string]string{}
		for _, k := range []string{"app", "version", "tier", "none"} {
			if random.IntN(5) < 2 {
				selector[k] = fmt.Sprint(random.IntN(6))
			}
		}
		var want []*Workload
		for _, w := range x.Namespace("n") {
			if len(selector) > 0 && Matches(selector, w.Labels) {
				want = append(want, w)
			}
		}
		got := x.Selected("n", selector)
		if len(got) != len(want) {
			t.Fatalf("%v: %d selected, want %d", selector, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%v: place %d has %s, want %s", selector, i, got[i].Name, want[i].Name)
			}
		}
	}
}

// BenchmarkIndex builds the index of 1,000 services with five endpoints each, and
// asks for all of them.
func BenchmarkIndex(b *testing.B) {
	for _, explicit := range []bool{true, false} {
		b.Run(fmt.Sprintf("explicit=%t", explicit), func(b *testing.B) {
			var list []Workload
			var services []Service
			port := ServicePort{Name: "http", Number: 80, TargetNumber: 8080}
			for i := range 1000 {
				app := fmt.Sprintf("s%d", i)
				services = append(services, Service{Name: app, Namespace: "n", Selector: map[string]string{"app": app}})
				for n := range 5 {
					w := Workload{
						Name: fmt.Sprintf("%s-%d", app, n), Namespace: "n", Ready: true, Addr: netip.AddrFrom4([4]byte{10, byte(n), byte(i >> 8), byte(i)}),
						Labels: map[string]string{"app": app, "version": "v1", "pod-template-hash": app},
					}
					if explicit {
						w.Serves = []Membership{{Service: "n/" + app, Addr: w.Addr, Ports: []Port{{Name: "http", Number: 8080}}, Health: Healthy}}
					}
					list = append(list, w)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				x := NewIndex(list)
				for i := range services {
					if len(x.Endpoints(&services[i], &port)) != 5 {
						b.Fatal("endpoints are missing")
					}
				}
			}
		})
	}
}
