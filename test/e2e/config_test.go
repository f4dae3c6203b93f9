package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBrokenFilesChangeNothing: every broken file gives an error of its own and a
// non-zero exit, and the mesh answers as before.
func TestBrokenFilesChangeNothing(t *testing.T) {
	files, err := filepath.Glob("../../internal/controlplane/configapi/testdata/broken/*.[yj]*")
	if err != nil {
		t.Fatal(err)
	}
	m := startMesh(t, true)
	m.sample("bookinfo/virtual-service-reviews-v3.yaml")
	before := m.run("get", "virtualservice,destinationrule,gateway", "-A", "-o", "yaml")
	seen := map[string]string{}
	n := 0
	for _, file := range files {
		if strings.HasSuffix(file, ".err") {
			continue
		}
		n++
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		out, errs, err := m.tryIn(string(text), "apply", "-f", "-")
		if err == nil {
			t.Errorf("%s was applied: %s", file, out)
		}
		if other, ok := seen[errs]; ok || len(errs) < 20 {
			t.Errorf("%s and %s give the same or no error: %q", file, other, errs)
		}
		seen[errs] = filepath.Base(file)
	}
	if n < 30 {
		t.Errorf("only %d broken files", n)
	}
	if after := m.run("get", "virtualservice,destinationrule,gateway", "-A", "-o", "yaml"); after != before {
		t.Errorf("the configuration changed:\n%s\nbefore:\n%s", after, before)
	}
	if _, text := m.get("/api/v1/products/0/reviews"); !strings.Contains(text, `"color":"red"`) {
		t.Errorf("the route is gone: %s", text)
	}
}

// TestWatchedDirectory: saving a file changes the mesh; a broken save keeps the
// last good version and `status` says where it is broken; a good save mends it.
func TestWatchedDirectory(t *testing.T) {
	m := newMesh(t, true)
	dir := filepath.Join(m.home, "config")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	copySample := func(from, to string) {
		t.Helper()
		text, err := os.ReadFile("../../samples/yaml/" + from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, to), text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bookinfo.yaml", "bookinfo-gateway.yaml", "destination-rule-all.yaml"} {
		copySample("bookinfo/"+name, name)
	}
	copySample("bookinfo/virtual-service-reviews-v3.yaml", "reviews.yaml")
	m.up("-f", dir)
	color := func(want string) func() error {
		return func() error {
			_, text, err := m.tryGet("/api/v1/products/0/reviews")
			return expect(err == nil && strings.Contains(text, want), "%v %s", err, text)
		}
	}
	eventually(t, 15*time.Second, color(`"color":"red"`))
	if err := os.WriteFile(filepath.Join(dir, "reviews.yaml"), []byte("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\nspec:\n  hosts: [reviews]\n  htp: []\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() error {
		out, errs, err := m.try("status")
		return expect(strings.Contains(out+errs, "reviews.yaml") && strings.Contains(out+errs, "htp"), "%v\n%s%s", err, out, errs)
	})
	if err := color(`"color":"red"`)(); err != nil {
		t.Errorf("after a broken save: %v", err)
	}
	copySample("bookinfo/virtual-service-all-v1.yaml", "reviews.yaml")
	eventually(t, 15*time.Second, func() error {
		_, text, err := m.tryGet("/api/v1/products/0/reviews")
		return expect(err == nil && !strings.Contains(text, `"color"`), "%v %s", err, text)
	})
	if err := os.Remove(filepath.Join(dir, "reviews.yaml")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, color(`"color"`)) // any version again, sooner or later one with stars
}

// TestExplain: the explanation names the object and the destination that the
// request really takes.
func TestExplain(t *testing.T) {
	m := startMesh(t, true)
	m.sample("bookinfo/virtual-service-reviews-test-v2.yaml")
	jason := m.run("explain", "http://reviews:9080/reviews/0", "--from", "productpage-v1", "--header", "end-user=jason")
	other := m.run("explain", "http://reviews:9080/reviews/0", "--from", "productpage-v1")
	for text, want := range map[string][]string{
		jason: {"VirtualService default/reviews", "outbound|9080|v2|reviews.default.svc.cluster.local", "mTLS"},
		other: {"VirtualService default/reviews", "outbound|9080|v1|reviews.default.svc.cluster.local", "mTLS"},
	} {
		for _, w := range want {
			if !strings.Contains(text, w) {
				t.Errorf("no %q in:\n%s", w, text)
			}
		}
	}
	if out := m.run("explain", ":8080/productpage", "--from", "istio-ingressgateway.istio-system"); !strings.Contains(out, "outbound|9080||productpage.default.svc.cluster.local") {
		t.Errorf("at the gateway:\n%s", out)
	}
}

// TestProxyConfig: the proxy's own account has the names that Istio's users know.
func TestProxyConfig(t *testing.T) {
	m := startMesh(t, true)
	for part, want := range map[string]string{
		"listener": "15006", "cluster": "reviews.default.svc.cluster.local", "route": "reviews.default.svc.cluster.local:9080",
		"endpoint": "outbound|9080||reviews.default.svc.cluster.local", "secret": "ROOTCA", "all": "virtualservice",
	} {
		out := strings.ToLower(m.run("proxy-config", part, "productpage-v1"))
		if part == "all" {
			want = "vhost name"
		}
		if !strings.Contains(out, strings.ToLower(want)) {
			t.Errorf("proxy-config %s: no %q in:\n%s", part, want, out)
		}
	}
	if out := m.run("proxy-status", "-v"); strings.Count(out, "SYNCED") < 20 || strings.Contains(out, "NACK") {
		t.Errorf("proxy-status:\n%s", out)
	}
	for _, cmd := range [][]string{{"ps"}, {"logs", "productpage-v1"}, {"logs", "productpage-v1", "-c", "proxy"}, {"status"}, {"get", "vs,dr,gw,svc", "-A"}, {"version"}, {"completion", "bash"}} {
		if out := m.run(cmd...); strings.TrimSpace(out) == "" {
			t.Errorf("%v prints nothing", cmd)
		}
	}
	if log := m.run("logs", "productpage-v1", "-c", "proxy"); !strings.Contains(log, `outbound|9080|`) {
		m.get("/productpage")
		eventually(t, 5*time.Second, func() error {
			log := m.run("logs", "productpage-v1", "-c", "proxy")
			return expect(strings.Contains(log, "outbound|9080|"), "%s", log)
		})
	}
}

// istioShaped is an application written as Istio's own samples are: with
// volumes, security context, environment and annotations.
const istioShaped = `
apiVersion: v1
kind: Service
metadata:
  name: reviews
  labels: {app: reviews, service: reviews}
spec:
  ports:
  - port: 9080
    name: http
  selector:
    app: reviews
---
apiVersion: v1
kind: ServiceAccount
metadata:
  name: bookinfo-reviews
  labels:
    account: reviews
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: reviews-v3
  labels: {app: reviews, version: v3}
spec:
  replicas: 2
  selector:
    matchLabels: {app: reviews, version: v3}
  template:
    metadata:
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "9080"
        prometheus.io/path: "/metrics"
      labels: {app: reviews, version: v3}
    spec:
      serviceAccountName: bookinfo-reviews
      containers:
      - name: reviews
        image: docker.io/istio/examples-bookinfo-reviews-v3:1.20.3
        imagePullPolicy: IfNotPresent
        env:
        - name: LOG_DIR
          value: "/tmp/logs"
        ports:
        - containerPort: 9080
        volumeMounts:
        - name: tmp
          mountPath: /tmp
        - name: wlp-output
          mountPath: /opt/ibm/wlp/output
        securityContext:
          runAsUser: 1000
      volumes:
      - name: wlp-output
        emptyDir: {}
      - name: tmp
        emptyDir: {}
`

// TestIstioShapedManifest: what Istio's samples look like runs unedited.
func TestIstioShapedManifest(t *testing.T) {
	m := newMesh(t, true)
	file := filepath.Join(m.home, "app.yaml")
	if err := os.WriteFile(file, []byte(istioShaped), 0o644); err != nil {
		t.Fatal(err)
	}
	m.up("-f", file)
	m.sample("curl/curl.yaml")
	eventually(t, 20*time.Second, func() error {
		out, errs, err := m.exec("curl", "curl", "-sS", "-m", "5", "http://reviews.default.svc.cluster.local:9080/reviews/0")
		return expect(err == nil && strings.Contains(out, `"podname":"reviews-v3`), "%v %s%s", err, out, errs)
	})
	if n := strings.Count(m.run("ps"), "reviews-v3-"); n != 2 {
		t.Errorf("%d replicas of reviews-v3:\n%s", n, m.run("ps"))
	}
}

// TestWhatCannotRunSaysSo: a Deployment whose image means nothing here, a kind
// that is not acted on yet and a port that cannot be served each have a verdict,
// and `up` does not start on a broken file.
func TestWhatCannotRunSaysSo(t *testing.T) {
	m := newMesh(t, true)
	file := filepath.Join(m.home, "app.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {prts: []}\n")
	out, errs, err := m.try("up", "--ports", "auto", "--detach", "-f", file)
	if err == nil || !strings.Contains(errs, `app.yaml:4: Service default/a: spec.prts: unknown field; did you mean "ports"?`) {
		t.Errorf("up with a broken file: %v\n%s%s", err, out, errs)
	}
	write(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: deny}
spec: {action: DENY, rules: [{from: [{source: {namespaces: [x]}}]}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: foreign}
spec:
  selector: {matchLabels: {app: foreign}}
  template:
    metadata: {labels: {app: foreign}}
    spec: {containers: [{name: c, image: nginx}]}
---
apiVersion: v1
kind: Service
metadata: {name: g}
spec: {ports: [{port: 5000, name: game, protocol: UDP}], selector: {app: foreign}}
`)
	m.up("-f", file)
	for object, want := range map[string]string{"authorizationpolicy/deny": "NOT ENFORCED", "deployment/foreign": "lateen.dev/command", "service/g": "UDP"} {
		eventually(t, 10*time.Second, func() error {
			out := m.run("status", object)
			return expect(strings.Contains(out, want), "%s: no %q in\n%s", object, want, out)
		})
	}
}
