package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/kube/bed"
)

// meshServices is how many services there are besides the few that are used.
const meshServices = 1000

// dependencies are what the measured pod asks, in turn.
var dependencies = []string{
	"http://productpage.bookinfo:9080/productpage", "http://details.bookinfo:9080/details/0", "http://reviews.bookinfo:9080/reviews/0",
	"http://ratings.bookinfo:9080/ratings/0", "http://httpbin.bookinfo:8000/get",
}

// TestLargeMesh measures a pod of five dependencies in a mesh of a thousand
// services: our proxy holds what is used; Envoy beside it holds the whole mesh.
func TestLargeMesh(t *testing.T) {
	b := bed.UseFull(t)
	install(t, b)
	bookinfo(t, b, "bookinfo")
	b.Apply(t, "bookinfo", b.Sample(t, "httpbin/httpbin.yaml"))
	b.Rollout(t, "bookinfo")
	b.Namespace(t, "many")
	createMany(t, b)
	b.Namespace(t, "measured", "istio-injection=enabled")
	own := measure(t, b, "native")
	bed.Note(t, "lateen-proxy: %d MB RSS, %d clusters, of %d services that are used", own.rss>>20, own.clusters, len(dependencies))
	// What is used, what every proxy has (passthrough, black hole, inbound, the
	// agent's own), and nothing of the thousand.
	if own.clusters > 4*len(dependencies)+10 || own.many > 0 {
		t.Errorf("lateen-proxy holds %d clusters, %d of services that the pod never used", own.clusters, own.many)
	}
	if !b.Images.Envoy {
		bed.Note(t, "no Envoy here to compare with: scripts/setup.sh installs it")
		return
	}
	foreign := measure(t, b, "envoy")
	bed.Note(t, "Envoy: %d MB RSS with its agent, %d clusters", foreign.rss>>20, foreign.clusters)
	if foreign.many < meshServices {
		t.Errorf("Envoy holds %d of the %d services: the comparison is not the whole mesh", foreign.many, meshServices)
	}
	if own.rss >= foreign.rss {
		t.Errorf("lateen-proxy takes %d MB, Envoy %d MB", own.rss>>20, foreign.rss>>20)
	}
}

// createMany creates the services, by several kubectl at a time: each sends fifty
// requests per second at most.
func createMany(t *testing.T, b *bed.Bed) {
	t.Helper()
	const parts = 8
	errs := make(chan error, parts)
	for i := range parts {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
			defer cancel()
			n := meshServices / parts
			_, err := b.Cluster.Kubectl(ctx, []byte(manyServices(i*n, n)), "create", "--validate=false", "-n", "many", "-f", "-")
			errs <- err
		}()
	}
	for range parts {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
}

// manyServices are services without pods: their endpoints are written down.
func manyServices(from, n int) string {
	var items []any
	for i := from; i < from+n; i++ {
		name := fmt.Sprintf("service-%04d", i)
		items = append(items, map[string]any{
			"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": name},
			"spec": map[string]any{"ports": []any{map[string]any{"name": "http", "port": 80, "targetPort": 8080}}},
		}, map[string]any{
			"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
			"metadata": map[string]any{"name": name, "labels": map[string]string{"kubernetes.io/service-name": name}},
			"ports":    []any{map[string]any{"name": "http", "port": 8080}},
			"endpoints": []any{
				map[string]any{"addresses": []string{fmt.Sprintf("198.18.%d.%d", i/250, 1+i%250)}, "conditions": map[string]any{"ready": true}},
				map[string]any{"addresses": []string{fmt.Sprintf("198.19.%d.%d", i/250, 1+i%250)}, "conditions": map[string]any{"ready": true}},
			},
		})
	}
	text, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	if err != nil {
		panic(err) // maps of strings and numbers
	}
	return string(text)
}

// footprint is what a sidecar holds.
type footprint struct {
	rss      int64 // bytes, of all processes of its container
	clusters int
	many     int // of them, those of the thousand services
}

// measure runs a pod that uses the dependencies and looks into its sidecar.
func measure(t *testing.T, b *bed.Bed, proxy string) footprint {
	t.Helper()
	name := "uses-five-" + proxy
	p := b.StartPodLoad(t, "measured", name, bed.Load{URL: dependencies[0], Rate: 10}, map[string]string{"lateen.dev/proxy": proxy, "lateen.dev/on-demand": "true"})
	for _, url := range dependencies[1:] {
		b.Kubectl(t, "exec", "-n", "measured", name, "-c", "load", "--", "/load", "-url", url, "-rate", "10", "-duration", "2s")
	}
	time.Sleep(10 * time.Second)
	p.Report(t).NoFailure(t, 50)
	var f footprint
	out := b.InPod(t, "measured", name, "istio-proxy", "curl", "-s", "http://127.0.0.1:15000/clusters?format=json")
	var page struct {
		Clusters []struct {
			Name string `json:"name"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal([]byte(out), &page); err != nil {
		t.Fatalf("the sidecar's clusters: %v: %.300s", err, out)
	}
	f.clusters = len(page.Clusters)
	for _, c := range page.Clusters {
		if strings.Contains(c.Name, ".many.svc") {
			f.many++
		}
	}
	for _, pid := range b.Processes(t, "measured", name, "istio-proxy") {
		line := b.OnNode(t, "grep", "VmRSS", "/proc/"+pid+"/status")
		if kb, err := strconv.ParseInt(strings.Fields(line)[1], 10, 64); err == nil {
			f.rss += kb << 10
		}
	}
	if f.rss == 0 {
		t.Fatal("the sidecar has no memory: its processes were not found")
	}
	return f
}
