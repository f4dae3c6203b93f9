package install

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

func TestCheckVersion(t *testing.T) {
	for version, want := range map[string]string{
		"v1.34.4": "", "v1.30.0": "", "v1.31.1-gke.1500": "", "v1.30.0-eks-5e0fdde": "", "1.34+": "",
		"v1.29.9": "needs 1.30.0", "nonsense": "cannot be read",
	} {
		found := checkVersion(version)
		switch {
		case want == "" && len(found) > 0:
			t.Errorf("%s: %v", version, found)
		case want != "" && (len(found) != 1 || !strings.Contains(found[0].Message, want)):
			t.Errorf("%s: %v, want %q", version, found, want)
		}
	}
}

func TestByControlPlane(t *testing.T) {
	for manager, want := range map[string]bool{"lateen": true, "lateen-status": true, "pilot-discovery": false, "kubectl": false, "lateener": false} {
		o := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{"managedFields": []any{map[string]any{"manager": manager}}}}}
		if got := byControlPlane(o); got != want {
			t.Errorf("%s: %v", manager, got)
		}
	}
}

// TestLeftoverNames: a revision takes its own with it, and only the last one what
// all share.
func TestLeftoverNames(t *testing.T) {
	own, shared := leftover{name: "lateen-leader"}, leftover{name: "istio-ca-root-cert", shared: true}
	for _, c := range []struct {
		l       leftover
		object  string
		removal Removal
		want    bool
	}{
		{own, "lateen-leader", Removal{Revision: "default"}, true},
		{own, "lateen-leader-canary", Removal{Revision: "default"}, false},
		{own, "lateen-leader-canary", Removal{Revision: "canary"}, true},
		{own, "lateen-leader", Removal{Revision: "canary"}, false},
		{own, "lateen-leader-canary", Removal{Purge: true}, true},
		{own, "lateen-leadership", Removal{Purge: true}, false},
		{shared, "istio-ca-root-cert", Removal{Revision: "canary"}, true},
		{shared, "istio-ca-root-cert-x", Removal{Purge: true}, false},
	} {
		o := &unstructured.Unstructured{Object: map[string]any{"metadata": map[string]any{
			"name": c.object, "managedFields": []any{map[string]any{"manager": "lateen"}}}}}
		if got := c.l.matches(o, c.removal); got != c.want {
			t.Errorf("%s, %+v: %v", c.object, c.removal, got)
		}
	}
}
