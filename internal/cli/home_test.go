package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/push"
)

// TestWhichMesh: the one rule of which mesh is meant, with nothing running and a
// kubeconfig whose server is not there.
func TestWhichMesh(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config")
	text := `{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a}}], clusters: [{name: a, cluster: {server: "http://127.0.0.1:1"}}]}`
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, kubeconfig, name, want string }{
		{"proxy-status", "", "", "no mesh is running on this machine (start one with `lateen up`), and there is no kubeconfig"},
		{"proxy-status --name x", config, "", `no mesh named "x" is running`},
		{"proxy-status", config, "x", `no mesh named "x" is running`},
		{"proxy-status --name x --context a", config, "", "--name means a mesh on this machine and --context one in a cluster"},
		{"proxy-status", config, "", "looking for the control plane in the cluster of the context a"},
		{"proxy-status --kubeconfig " + config, "", "", "looking for the control plane"},
		{"proxy-status --kubeconfig " + config, "", "x", "looking for the control plane"},
		{"apply -f -", config, "", "in a cluster use `kubectl apply`"},
		{"apply -f - --name x", config, "", `no mesh named "x" is running`},
		{"exec w -n a --context a -- ls", config, "", "in a cluster use `kubectl exec w -n a -- ls`"},
		{"dashboard envoy a --name x", config, "", "this works for a mesh in a cluster"},
	} {
		t.Run(c.args, func(t *testing.T) {
			t.Setenv("KUBECONFIG", c.kubeconfig)
			t.Setenv("HOME", dir)
			var out, errs bytes.Buffer
			env := &Env{In: strings.NewReader(""), Out: &out, Err: &errs, Getenv: func(name string) string {
				return map[string]string{"XDG_RUNTIME_DIR": dir, "HOME": dir, "LATEEN_NAME": c.name, "KUBECONFIG": c.kubeconfig}[name]
			}}
			if code := Run(t.Context(), env, strings.Fields(c.args)); code == 0 || !strings.Contains(errs.String(), c.want) {
				t.Errorf("exit code %d, %q; want %q", code, &errs, c.want)
			}
		})
	}
}

func TestProxyStatusTable(t *testing.T) {
	list := []connected{
		{push.ProxyStatus{Name: "a.default", Version: "1.0", Types: map[string]push.TypeStatus{"cds": {State: push.Synced}, "lds": {State: push.Stale}, "rds": {State: push.NotSent}, "nds": {State: push.Synced}}}, "istiod-1"},
		{push.ProxyStatus{Name: "long-name.default", Types: map[string]push.TypeStatus{}, Refusals: []string{"cds x: bad"}}, "istiod-2"},
	}
	for _, c := range []struct {
		verbose bool
		want    string
	}{
		{false, `NAME                CLUSTER      ISTIOD     VERSION   SUBSCRIBED TYPES
a.default           Kubernetes   istiod-1   1.0       3 (CDS,LDS,NDS)
long-name.default   Kubernetes   istiod-2   -         0 ()
`},
		{true, `NAME                CLUSTER      CDS        LDS        EDS        RDS        ECDS       ISTIOD     VERSION
a.default           Kubernetes   SYNCED     STALE      NOT SENT   NOT SENT   NOT SENT   istiod-1   1.0
long-name.default   Kubernetes   NOT SENT   NOT SENT   NOT SENT   NOT SENT   NOT SENT   istiod-2   -
`},
	} {
		var out, errs bytes.Buffer
		if err := printProxyStatus(&Env{Out: &out, Err: &errs}, list, c.verbose); err != nil {
			t.Fatal(err)
		}
		if out.String() != c.want {
			t.Errorf("got\n%swant\n%s", &out, c.want)
		}
		if !strings.Contains(errs.String(), "long-name.default refuses cds x: bad") {
			t.Errorf("the refusal is not told: %q", &errs)
		}
	}
}

func TestPickPod(t *testing.T) {
	pod := func(name string, phase corev1.PodPhase, ready corev1.ConditionStatus) corev1.Pod {
		return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PodStatus{Phase: phase, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}}}
	}
	list := []corev1.Pod{pod("a", corev1.PodPending, "False"), pod("b", corev1.PodRunning, "False"), pod("d", corev1.PodRunning, "True"), pod("c", corev1.PodRunning, "True")}
	if p, err := pickPod(list, "x", "y"); err != nil || p.Name != "c" {
		t.Errorf("%v, %v", p, err)
	}
	if _, err := pickPod(nil, "x", "y"); err == nil || !strings.Contains(err.Error(), `no pod of "x" in the namespace y`) {
		t.Error(err)
	}
}

func TestLevelQueries(t *testing.T) {
	for level, want := range map[string]string{"": "", "debug": "level=debug", "http:debug,rbac:trace": "paths=http%3Adebug%2Crbac%3Atrace", "info,http:debug": "level=info paths=http%3Adebug"} {
		q, err := levelQueries(level)
		if got := strings.Join(q, " "); err != nil || got != want {
			t.Errorf("%q: %q, %v", level, got, err)
		}
	}
	if _, err := levelQueries("http:"); err == nil {
		t.Error("a scope without level is read")
	}
}
