package explain

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

var update = flag.Bool("update", false, "rewrite the expected texts")

// Each case is a txtar file: lists of resources in proto-JSON, and pairs of
// NAME.json (a Request) and NAME.txt (the explanation).
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { golden(t, path) })
	}
}

func golden(t *testing.T, path string) {
	a, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	res := NewResources(strings.Contains(path, "gateway"))
	requests := 0
	for i := range a.Files {
		f := &a.Files[i]
		switch f.Name {
		case "listeners.json":
			add(t, res, config.ListenerURL, f.Data, func() proto.Message { return &listenerv3.Listener{} })
		case "routes.json":
			add(t, res, config.RouteURL, f.Data, func() proto.Message { return &routev3.RouteConfiguration{} })
		case "clusters.json":
			add(t, res, config.ClusterURL, f.Data, func() proto.Message { return &clusterv3.Cluster{} })
		case "endpoints.json":
			add(t, res, config.EndpointsURL, f.Data, func() proto.Message { return &endpointv3.ClusterLoadAssignment{} })
		default:
			name, isRequest := strings.CutSuffix(f.Name, ".json")
			if !isRequest {
				continue
			}
			requests++
			got := explained(t, res, f.Data).Text()
			want := &a.Files[i+1]
			if want.Name != name+".txt" {
				t.Fatalf("%s is followed by %s", f.Name, want.Name)
			}
			if *update {
				want.Data = []byte(got)
			} else if d := cmp.Diff(string(want.Data), got); d != "" {
				t.Errorf("%s: (-want +got)\n%s", name, d)
			}
		}
	}
	if requests == 0 {
		t.Fatal("the case asks nothing")
	}
	if *update {
		if err := os.WriteFile(path, txtar.Format(a), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func add(t *testing.T, res *Resources, url string, data []byte, make func() proto.Message) {
	t.Helper()
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatal(err)
	}
	for _, text := range list {
		m := make()
		if err := protojson.Unmarshal(text, m); err != nil {
			t.Fatal(err)
		}
		b, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := res.Add(url, b); err != nil {
			t.Fatal(err)
		}
	}
}

func explained(t *testing.T, res *Resources, data []byte) *Explanation {
	t.Helper()
	var req Request
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&req); err != nil {
		t.Fatal(err)
	}
	e := Explain(res, req)
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	back := &Explanation{}
	if err := json.Unmarshal(b, back); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(e, back); d != "" {
		t.Errorf("JSON loses something: %s", d)
	}
	return e
}

func TestNACK(t *testing.T) {
	b, err := proto.Marshal(&clusterv3.Cluster{Name: "c", HealthChecks: nil, LbSubsetConfig: &clusterv3.Cluster_LbSubsetConfig{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := NewResources(false).Add(config.ClusterURL, b); err == nil || !strings.Contains(err.Error(), "lb_subset_config") {
		t.Errorf("got %v", err)
	}
}

func TestOrigin(t *testing.T) {
	for path, want := range map[string]string{
		"/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews": "VirtualService default/reviews",
		"":               "",
		"something else": "something else",
	} {
		if got := origin(path); got != want {
			t.Errorf("%q: got %q, want %q", path, got, want)
		}
	}
}
