package analyze_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// canary are the objects of a canary; its workloads and Service are there.
const canary = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v1}, weight: 90}, {destination: {host: reviews, subset: v2}, weight: 10}]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: testers}
spec:
  hosts: [reviews]
  http: [{match: [{headers: {end-user: {exact: jason}}}], route: [{destination: {host: reviews, subset: v2}}]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingress}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec:
  hosts: ["*"]
  gateways: [edge]
  http: [{route: [{destination: {host: reviews, subset: v1}, weight: 90}, {destination: {host: reviews, subset: v2}, weight: 10}]}]
`

// TestCanaryInAnyOrder applies a canary's objects one by one in every order: after
// each step calls inside the mesh are sent to endpoints, whatever is still missing,
// and in the end the split acts.
func TestCanaryInAnyOrder(t *testing.T) {
	base, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(canary, "---\n")
	orders := permutations(len(parts))
	if len(orders) != 120 {
		t.Fatalf("%d orders", len(orders))
	}
	for _, order := range orders {
		prior := compile.Prior{}
		var files [][]byte
		for step, i := range order {
			files = append(files, []byte(parts[i]))
			objects := aged(t, append([][]byte{base}, files...)...)
			r := pipelineAfter(t, objects, prior)
			prior = compile.Next(r.snap, prior)
			for _, route := range routesOf(r.proxies[0], "reviews.default.svc.cluster.local") {
				if len(route.Clusters) == 0 {
					t.Fatalf("order %v, step %d: a call gets no endpoint: %s", order, step, route.Reason)
				}
				for _, c := range route.Clusters {
					if !hasEndpoints(r.proxies[0], c.Cluster) {
						t.Fatalf("order %v, step %d: the cluster %s has no endpoints", order, step, c.Cluster)
					}
				}
			}
			if step < len(order)-1 {
				continue
			}
			routes := routesOf(r.proxies[0], "reviews.default.svc.cluster.local")
			if len(routes) != 2 || len(routes[1].Clusters) != 2 || routes[1].Clusters[0].Weight != 90 || routes[0].Clusters[0].Cluster.Subset != "v2" {
				t.Fatalf("order %v: in the end %+v", order, routes)
			}
			for _, s := range r.said {
				if s.Code == verdict.Waiting {
					t.Fatalf("order %v: in the end %s", order, s)
				}
			}
		}
	}
}

func routesOf(p *ir.Proxy, domain string) []ir.Route {
	for _, table := range p.Tables {
		for _, h := range table.Hosts {
			if slices.Contains(h.Domains, domain) {
				return h.Routes
			}
		}
	}
	return nil
}

func hasEndpoints(p *ir.Proxy, key ir.Key) bool {
	return slices.ContainsFunc(p.Assignments, func(a ir.Assignment) bool {
		return a.Cluster == key && slices.ContainsFunc(a.Localities, func(l ir.LocalityEndpoints) bool { return len(l.Endpoints) > 0 })
	})
}

// permutations lists all orders of n things.
func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var out [][]int
	for _, p := range permutations(n - 1) {
		for i := 0; i <= len(p); i++ {
			out = append(out, slices.Insert(slices.Clone(p), i, n-1))
		}
	}
	return out
}
