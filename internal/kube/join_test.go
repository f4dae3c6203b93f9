package kube

import (
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/registry"
)

// fakeClient is enough to make kinds; it reaches no server.
func fakeClient(t testing.TB) *Client {
	t.Helper()
	c, err := newClient(unreachable, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func newCluster(t testing.TB) *cluster {
	c := fakeClient(t)
	quiet := func(string) {}
	return &cluster{
		pods: newTable(c.podKind(), quiet), slices: newTable(c.sliceKind(), quiet), nodes: newTable(c.nodeKind(), quiet),
		selected: func(string) bool { return true }, ipv6: func(string) bool { return false },
	}
}

// sliceFor makes a slice with one port, http 8080.
func sliceFor(namespace, service string, endpoints ...discovery.Endpoint) *discovery.EndpointSlice {
	name, port := "http", int32(8080)
	return &discovery.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: service + "-x", Labels: map[string]string{discovery.LabelServiceName: service}},
		AddressType: discovery.AddressTypeIPv4, Ports: []discovery.EndpointPort{{Name: &name, Port: &port}}, Endpoints: endpoints,
	}
}

func endpointFor(addr, pod string) discovery.Endpoint {
	e := discovery.Endpoint{Addresses: []string{addr}}
	if pod != "" {
		e.TargetRef = &corev1.ObjectReference{Kind: "Pod", Name: pod}
	}
	return e
}

func with(e discovery.Endpoint, ready, serving, terminating bool) discovery.Endpoint {
	e.Conditions = discovery.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating}
	return e
}

// render gives workloads as lines.
func render(list []registry.Workload) string {
	var b strings.Builder
	for _, w := range list {
		fmt.Fprintf(&b, "%s/%s %s", w.Namespace, w.Name, w.Addr)
		if w.Locality != (registry.Locality{}) {
			fmt.Fprintf(&b, " in %s.%s.%s", w.Locality.Region, w.Locality.Zone, w.Locality.Subzone)
		}
		for _, m := range w.Serves {
			fmt.Fprintf(&b, " %s=%s", m.Service, m.Addr)
			for _, p := range m.Ports {
				fmt.Fprintf(&b, ":%s.%d", p.Name, p.Number)
			}
			b.WriteString([]string{"(unready)", "(draining)", ""}[m.Health])
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestJoin(t *testing.T) {
	zone, node := "z9", "node1"
	grpc, grpcPort := "grpc", int32(9090)
	for _, c := range []struct {
		name  string
		build func(c *cluster, put func(any))
		want  string
	}{
		{"a pod and its slice", func(c *cluster, put func(any)) {
			put(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "node1", Labels: map[string]string{
				"topology.kubernetes.io/region": "r", "topology.kubernetes.io/zone": "z", "topology.istio.io/subzone": "s"}}})
			put(runningPod("n", "a-1", "10.1.0.1"))
			put(sliceFor("n", "a", endpointFor("10.1.0.1", "a-1")))
		}, "n/a-1 10.1.0.1 in r.z.s n/a=10.1.0.1:http.8080\n"},
		{"a pod without a service", func(c *cluster, put func(any)) {
			put(runningPod("n", "a-1", "10.1.0.1"))
		}, "n/a-1 10.1.0.1\n"},
		{"a slice without pods", func(c *cluster, put func(any)) {
			e := endpointFor("192.0.2.1", "")
			e.Zone = &zone
			put(sliceFor("n", "a", e, endpointFor("192.0.2.2", "")))
			put(sliceFor("n", "b", e))
			put(sliceFor("m", "a", e))
		}, "m/192.0.2.1 192.0.2.1 in .z9. m/a=192.0.2.1:http.8080\nn/192.0.2.1 192.0.2.1 in .z9. n/a=192.0.2.1:http.8080 n/b=192.0.2.1:http.8080\nn/192.0.2.2 192.0.2.2 n/a=192.0.2.2:http.8080\n"},
		{"a slice without pods on a node", func(c *cluster, put func(any)) {
			put(&metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "node1", Labels: map[string]string{"topology.kubernetes.io/zone": "z"}}})
			e := endpointFor("192.0.2.1", "")
			e.NodeName = &node
			put(sliceFor("n", "a", e))
		}, "n/192.0.2.1 192.0.2.1 in .z. n/a=192.0.2.1:http.8080\n"},
		{"an address that is a pod's after all", func(c *cluster, put func(any)) {
			put(runningPod("m", "a-1", "10.1.0.1"))
			put(sliceFor("n", "a", endpointFor("10.1.0.1", "")))
		}, "m/a-1 10.1.0.1 n/a=10.1.0.1:http.8080\n"},
		{"the address of a pod in the host's network is the node's", func(c *cluster, put func(any)) {
			p := runningPod("m", "a-1", "10.1.0.1")
			p.Spec.HostNetwork = true
			put(p)
			put(sliceFor("n", "a", endpointFor("10.1.0.1", "")))
		}, "m/a-1 10.1.0.1\nn/10.1.0.1 10.1.0.1 n/a=10.1.0.1:http.8080\n"},
		{"a pod that is not known", func(c *cluster, put func(any)) {
			put(sliceFor("n", "a", endpointFor("10.1.0.1", "a-1")))
		}, ""},
		{"conditions", func(c *cluster, put func(any)) {
			for i := range 5 {
				put(runningPod("n", fmt.Sprint("a-", i), fmt.Sprint("10.1.0.", i)))
			}
			put(sliceFor("n", "a",
				endpointFor("10.1.0.0", "a-0"),
				with(endpointFor("10.1.0.1", "a-1"), true, true, false),
				with(endpointFor("10.1.0.2", "a-2"), false, false, false),
				with(endpointFor("10.1.0.3", "a-3"), false, true, true),
				with(endpointFor("10.1.0.4", "a-4"), false, false, true)))
		}, "n/a-0 10.1.0.0 n/a=10.1.0.0:http.8080\nn/a-1 10.1.0.1 n/a=10.1.0.1:http.8080\nn/a-2 10.1.0.2 n/a=10.1.0.2:http.8080(unready)\n" +
			"n/a-3 10.1.0.3 n/a=10.1.0.3:http.8080(draining)\nn/a-4 10.1.0.4 n/a=10.1.0.4:http.8080(unready)\n"},
		{"two slices of a service", func(c *cluster, put func(any)) {
			put(runningPod("n", "a-1", "10.1.0.1"))
			put(sliceFor("n", "a", with(endpointFor("10.1.0.1", "a-1"), false, false, false)))
			second := sliceFor("n", "a", endpointFor("10.1.0.1", "a-1"))
			second.Name = "a-y"
			second.Ports = []discovery.EndpointPort{{Name: &grpc, Port: &grpcPort}}
			put(second)
		}, "n/a-1 10.1.0.1 n/a=10.1.0.1:PORTS\n"},
		{"both families", func(c *cluster, put func(any)) {
			p := runningPod("n", "a-1", "10.1.0.1")
			p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: "fd00::1"})
			put(p)
			for _, service := range []string{"four", "six", "only-six"} {
				if service != "only-six" {
					put(sliceFor("n", service, endpointFor("10.1.0.1", "a-1")))
				}
				v6 := sliceFor("n", service, endpointFor("fd00::1", "a-1"))
				v6.AddressType, v6.Name = discovery.AddressTypeIPv6, service+"-6"
				put(v6)
			}
			c.ipv6 = func(service string) bool { return service == "n/six" }
		}, "n/a-1 10.1.0.1 n/four=10.1.0.1:http.8080 n/only-six=fd00::1:http.8080 n/six=fd00::1:http.8080\n"},
		{"names", func(c *cluster, put func(any)) {
			s := sliceFor("n", "a", discovery.Endpoint{Addresses: []string{"example.com"}})
			s.AddressType = discovery.AddressTypeFQDN
			put(s)
			t.Cleanup(func() {
				if len(c.named) != 1 || c.named[0] != "n/a" {
					t.Errorf("services made of names: %v", c.named)
				}
			})
		}, ""},
		{"an unselected namespace", func(c *cluster, put func(any)) {
			put(runningPod("n", "a-1", "10.1.0.1"))
			put(runningPod("hidden", "a-1", "10.1.0.2"))
			put(sliceFor("hidden", "a", endpointFor("10.1.0.2", "a-1"), endpointFor("192.0.2.1", "")))
			c.selected = func(ns string) bool { return ns == "n" }
		}, "n/a-1 10.1.0.1\n"},
		{"a slice of nobody", func(c *cluster, put func(any)) {
			s := sliceFor("n", "a", endpointFor("192.0.2.1", ""))
			s.Labels = nil
			put(s)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := newCluster(t)
			c.build(x, func(o any) {
				var err error
				switch o.(type) {
				case *corev1.Pod:
					err = x.pods.Update(o)
				case *discovery.EndpointSlice:
					err = x.slices.Update(o)
				default:
					err = x.nodes.Update(o)
				}
				if err != nil {
					t.Fatal(err)
				}
			})
			got := render(x.join())
			if strings.Contains(c.want, "PORTS") { // the order of two slices is that of a map
				got = strings.NewReplacer("http.8080:grpc.9090", "PORTS", "grpc.9090:http.8080", "PORTS").Replace(got)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestJoinShares: equal ports are shared, and joining does not write to them.
func TestJoinShares(t *testing.T) {
	x := newCluster(t)
	for i := range 2 {
		if err := x.pods.Update(runningPod("n", fmt.Sprint("a-", i), fmt.Sprint("10.1.0.", i))); err != nil {
			t.Fatal(err)
		}
	}
	one := sliceFor("n", "a", endpointFor("10.1.0.0", "a-0"), endpointFor("10.1.0.1", "a-1"))
	two := sliceFor("n", "a", endpointFor("10.1.0.0", "a-0"))
	grpc, port := "grpc", int32(9090)
	two.Name, two.Ports = "a-y", []discovery.EndpointPort{{Name: &grpc, Port: &port}}
	for _, s := range []*discovery.EndpointSlice{one, two} {
		if err := x.slices.Update(s); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		list := x.join()
		if n := len(list[0].Serves[0].Ports); n != 2 {
			t.Fatalf("the pod of two slices has %d ports", n)
		}
		if n := len(list[1].Serves[0].Ports); n != 1 {
			t.Fatalf("the pod of one slice has %d ports", n)
		}
	}
}

// asRead gives an object as it comes from the wire, with strings of its own.
func asRead[T interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}](t testing.TB, o, into T) T {
	t.Helper()
	data, err := o.Marshal()
	if err == nil {
		err = into.Unmarshal(data)
	}
	if err != nil {
		t.Fatal(err)
	}
	return into
}

// fill puts 1,000 services with five pods each.
func fill(t testing.TB, x *cluster, services, each int) {
	t.Helper()
	for i := range services {
		name := fmt.Sprintf("service-%d", i)
		var endpoints []discovery.Endpoint
		for n := range each {
			p := runningPod("default", fmt.Sprintf("%s-7d4b9-%05d", name, n), netip.AddrFrom4([4]byte{10, byte(n), byte(i >> 8), byte(i)}).String())
			p.Labels = map[string]string{"app": name, "version": "v1", "pod-template-hash": "7d4b9", "security.istio.io/tlsMode": "istio",
				"service.istio.io/canonical-name": name, "service.istio.io/canonical-revision": "v1"}
			p.OwnerReferences[0].Name = name + "-7d4b9"
			endpoints = append(endpoints, with(endpointFor(p.Status.PodIP, p.Name), true, true, false))
			if err := x.pods.Update(asRead(t, p, &corev1.Pod{})); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.slices.Update(asRead(t, sliceFor("default", name, endpoints...), &discovery.EndpointSlice{})); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkJoin joins 1,000 services with five pods each.
func BenchmarkJoin(b *testing.B) {
	x := newCluster(b)
	fill(b, x, 1000, 5)
	b.ReportAllocs()
	for b.Loop() {
		if len(x.join()) != 5000 {
			b.Fatal("workloads are missing")
		}
	}
}

// TestFootprint says how much is held of each pod with its place in a slice, and
// holds a bound.
func TestFootprint(t *testing.T) {
	x := newCluster(t)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	fill(t, x, 1000, 5)
	each := (heap() - before) / 5000
	t.Logf("%d bytes for a pod and its place in a slice", each)
	if each > 2500 {
		t.Errorf("%d bytes for a pod and its place in a slice", each)
	}
	runtime.KeepAlive(x)
}
