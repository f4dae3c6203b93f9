package gatewaydeploy

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/gatewayapi"
)

var update = flag.Bool("update", false, "rewrite the outputs of golden cases")

// TestRender renders the Gateway of each case. ConfigMaps of the case are parameters:
// of the class where they lie in istio-system, else of the Gateway.
func TestRender(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden cases: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			in, want := "", ""
			for _, f := range ar.Files {
				switch f.Name {
				case "in.yaml":
					in = string(f.Data)
				case "out.yaml":
					want = string(f.Data)
				}
			}
			got := rendered(t, in)
			if *update {
				ar.Files = []txtar.File{{Name: "in.yaml", Data: []byte(in)}, {Name: "out.yaml", Data: []byte(got)}}
				if err := os.WriteFile(file, txtar.Format(ar), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got; go test -update rewrites it):\n%s", diff)
			}
		})
	}
}

func rendered(t *testing.T, in string) string {
	t.Helper()
	var o *api.Object
	var defaults, own Parameters
	for _, obj := range decode(t, in) {
		switch spec := obj.Spec.(type) {
		case *gatewayv1.Gateway:
			obj.Meta.UID = "uid-of-" + obj.Meta.Name
			o = obj
		case *corev1.ConfigMap:
			if obj.Meta.Namespace == "istio-system" {
				defaults = spec.Data
			} else {
				own = spec.Data
			}
		}
	}
	s := Settings{Controller: gatewayapi.Controller, Revision: o.Meta.Labels["test-revision"]}
	delete(o.Meta.Labels, "test-revision")
	list, err := Render(o, s, defaults, own)
	if err != nil {
		return "error: " + err.Error() + "\n"
	}
	var b strings.Builder
	for _, m := range list {
		text, err := yaml.Marshal(m.Content)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "--- # %s %s/%s\n%s", m.Resource.Plural, m.Namespace, m.Name, text)
	}
	return b.String()
}

func decode(t *testing.T, text string) []*api.Object {
	t.Helper()
	list, err := api.Decode(strings.NewReader(text), "in.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return list
}
