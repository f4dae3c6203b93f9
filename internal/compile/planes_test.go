package compile_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// TestDataPlanesDifferInIstiosFilters: what our proxy gets and what a stock Envoy
// gets is the same in every golden case but for the filters that only Istio's Envoy
// has, and what stands in for them.
func TestDataPlanesDifferInIstiosFilters(t *testing.T) {
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
			in := withBase(t, sections(ar))
			var cn caseNode
			decodeYAML(t, in["node.yaml"], &cn)
			cn.SocketMark = 0 // our proxy knows its mark without being told
			text := map[string]string{}
			for _, plane := range []string{"native", "envoy"} {
				cn.DataPlane = plane
				set := run(t, in, cn, nil).set
				all := map[string]any{}
				for _, r := range slices.Concat(set.Listeners, set.Routes, set.Clusters, set.Endpoints, set.Secrets) {
					all[r.TypeURL+" "+r.Name] = withoutIstio(dumpResource(t, r))
				}
				text[plane] = toYAML(t, all)
			}
			if diff := gocmp.Diff(text["envoy"], text["native"]); diff != "" {
				t.Errorf("(-envoy +native):\n%s", diff)
			}
		})
	}
}

// withoutIstio takes out what only one of the data planes has: Istio's filters, the
// ALPN of their exchange on TCP, and the headers that Envoy's routes remove in
// place of such a filter.
func withoutIstio(v any) any {
	switch v := v.(type) {
	case map[string]any:
		if on, ok := v["retry_on"].(string); ok { // docs/decisions/003
			v["retry_on"] = strings.Replace(on, "refused-stream,unavailable,cancelled,retriable", "refused-stream,retriable", 1)
		}
		for k, e := range v {
			list, ok := withoutIstio(e).([]any)
			if ok && len(list) == 0 {
				delete(v, k)
			} else if ok {
				v[k] = list
			}
		}
	case []any:
		v = slices.DeleteFunc(v, func(e any) bool {
			if m, ok := e.(map[string]any); ok {
				name, _ := m["name"].(string)
				return strings.HasPrefix(name, "istio.")
			}
			return e == "istio-peer-exchange" || e == "x-envoy-peer-metadata" || e == "x-envoy-peer-metadata-id"
		})
		for _, e := range v {
			withoutIstio(e)
		}
		return v
	}
	return v
}
