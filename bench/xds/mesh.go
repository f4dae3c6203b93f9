package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// namespaces is over how many of them services and proxies are spread.
const namespaces = 20

func namespaceOf(i int) string { return fmt.Sprintf("ns-%02d", i%namespaces) }

// world is the mesh that is served: services of two to five workloads, of which every
// fifth has a VirtualService, and a DestinationRule with two subsets. It implements
// push.Objects.
type world struct {
	changed chan struct{}

	mu        sync.Mutex
	objects   []*api.Object // guarded by mu
	revision  int64         // guarded by mu
	workloads []registry.Workload
}

func newWorld(services, proxies int) (*world, error) {
	w := &world{changed: make(chan struct{}, 1), revision: 1}
	var text strings.Builder
	for i := range services {
		text.WriteString(serviceYAML(i))
		if i%5 == 0 {
			text.WriteString(routeYAML(i, 90) + policyYAML(i, 0))
		}
		for n := range 2 + i%4 {
			w.workloads = append(w.workloads, workload(i, n))
		}
	}
	for i := range proxies {
		p := registry.Workload{
			Name: fmt.Sprintf("proxy-%d", i), Namespace: namespaceOf(i), Owner: "proxy", ServiceAccount: "default",
			Labels: map[string]string{"app": "proxy"}, Addr: proxyAddr(i), Ready: true, Proxied: true,
		}
		w.workloads = append(w.workloads, p)
	}
	list, err := api.Decode(strings.NewReader(text.String()), "mesh.yaml")
	w.objects = list
	return w, err
}

func workload(service, n int) registry.Workload {
	name := fmt.Sprintf("svc-%d", service)
	return registry.Workload{
		Name: fmt.Sprintf("%s-%d", name, n), Namespace: namespaceOf(service), Owner: name, OwnerKind: "Deployment", ServiceAccount: name,
		Labels: map[string]string{"app": name, "version": fmt.Sprint("v", 1+n%2)}, Addr: netip.AddrFrom4([4]byte{10, 128 + byte(n), byte(service >> 8), byte(service)}),
		Ready: true, Proxied: true, Locality: registry.Locality{Region: "r", Zone: fmt.Sprint("z", n%3)},
	}
}

func proxyAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 64, byte(i >> 8), byte(i)}) }

func serviceYAML(i int) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: svc-%d, namespace: %s}\nspec: {selector: {app: svc-%d}, ports: [{name: http, port: 80, targetPort: 8080}]}\n", i, namespaceOf(i), i)
}

func routeYAML(i, weight int) string {
	return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: svc-%[1]d, namespace: %[2]s}
spec:
  hosts: [svc-%[1]d]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: svc-%[1]d, subset: v2}}]
  - route:
    - {destination: {host: svc-%[1]d, subset: v1}, weight: %[3]d}
    - {destination: {host: svc-%[1]d, subset: v2}, weight: %[4]d}
`, i, namespaceOf(i), weight, 100-weight)
}

func policyYAML(i, connections int) string {
	limit := ""
	if connections > 0 {
		limit = fmt.Sprintf("  trafficPolicy: {connectionPool: {tcp: {maxConnections: %d}}}\n", connections)
	}
	return fmt.Sprintf("---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: svc-%[1]d, namespace: %[2]s}\nspec:\n  host: svc-%[1]d\n%[3]s  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]\n",
		i, namespaceOf(i), limit)
}

// Snapshot implements push.Objects.
func (w *world) Snapshot() ([]*api.Object, int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.objects, w.revision
}

// Watch implements push.Objects.
func (w *world) Watch(context.Context) <-chan struct{} { return w.changed }

// apply adds or replaces objects and gives the revision.
func (w *world) apply(text string) (int64, error) {
	list, err := api.Decode(strings.NewReader(text), "change.yaml")
	if err != nil {
		return 0, err
	}
	w.mu.Lock()
	next := append([]*api.Object(nil), w.objects...)
	for _, o := range list {
		found := false
		for i := range next {
			if next[i].Ref() == o.Ref() {
				next[i], found = o, true
			}
		}
		if !found {
			next = append(next, o)
		}
	}
	w.objects = next
	w.revision++
	revision := w.revision
	w.mu.Unlock()
	select {
	case w.changed <- struct{}{}:
	default:
	}
	return revision, nil
}

// memory is a push.Memory that forgets with the process.
type memory map[string][]byte

// SavePrior implements push.Memory.
func (m memory) SavePrior(name string, v any) (err error) {
	m[name], err = json.Marshal(v)
	return err
}

// LoadPrior implements push.Memory.
func (m memory) LoadPrior(name string, v any) (bool, error) {
	text, ok := m[name]
	if !ok {
		return false, nil
	}
	return true, json.Unmarshal(text, v)
}
