package console

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/fstest"

	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// plane is a control plane that says what a test wants.
type plane struct {
	snapshot *mesh.Snapshot
	proxies  []push.ProxyStatus
	info     PlaneInfo
	changed  chan struct{}
}

func (p *plane) Snapshot() *mesh.Snapshot            { return p.snapshot }
func (p *plane) Proxies() []push.ProxyStatus         { return p.proxies }
func (p *plane) Statuses() ([]verdict.Status, int64) { return nil, 1 << 40 }
func (p *plane) Describe() PlaneInfo                 { return p.info }
func (p *plane) Changed() <-chan struct{}            { return p.changed }
func (p *plane) Hosts() map[string][]netip.Addr      { return nil }
func (p *plane) Preview(string, []*api.Object) (push.Preview, error) {
	return push.Preview{}, push.ErrUnknownProxy
}

// serve makes a console over a store of its own.
func serve(t *testing.T, p *plane, change func(*Options)) *Console {
	t.Helper()
	s, err := store.Open(t.TempDir(), store.Options{Validate: validate.Error})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	o := Options{
		Plane: p, Home: "machine", History: history.New(history.Options{}),
		Config: configapi.NewHandler(configapi.Deps{Store: s, Statuses: p}),
		Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Error(w, "no proxy "+r.URL.Query().Get("proxyID"), http.StatusNotFound)
		}),
	}
	if change != nil {
		change(&o)
	}
	return New(o)
}

// ask sends a request as a program on the machine does.
func ask(t *testing.T, h http.Handler, method, path, body string, headers ...string) (int, string) {
	t.Helper()
	r := httptest.NewRequest(method, "http://localhost:20001"+path, strings.NewReader(body))
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		} else {
			r.Header.Set(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	text, err := io.ReadAll(w.Result().Body)
	if err != nil {
		t.Fatal(err)
	}
	return w.Code, string(text)
}

const route = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: v1}}]}]
`

// TestDescribed: what is served is described, and what is described is served.
func TestDescribed(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]any `json:"paths"`
	}
	if err := yaml.Unmarshal(description, &doc); err != nil {
		t.Fatal(err)
	}
	c := serve(t, &plane{}, nil)
	described := map[string]bool{}
	for path, item := range doc.Paths {
		for method := range item {
			if method == "parameters" {
				continue
			}
			described[strings.ToUpper(method)+" "+path] = true
		}
	}
	served := map[string]bool{"GET /api/openapi.yaml": true, "GET /api/proxies/{id}/config": true, "GET /api/events": true, "GET /api/tap": true}
	for pattern := range c.operations() {
		served[pattern] = true
	}
	for p := range served {
		if !described[p] {
			t.Errorf("%s is served and not described", p)
		}
	}
	for p := range described {
		if !served[p] {
			t.Errorf("%s is described and not served", p)
		}
	}
	if status, text := ask(t, c, "GET", "/api/openapi.yaml", ""); status != 200 || text != string(description) {
		t.Errorf("%d", status)
	}
}

func TestGuard(t *testing.T) {
	c := serve(t, &plane{}, func(o *Options) { o.Files = fstest.MapFS{"index.html": {Data: []byte("<html>")}} })
	readOnly := serve(t, &plane{}, func(o *Options) { o.ReadOnly = true })
	for _, x := range []struct {
		name         string
		of           *Console
		method, path string
		headers      []string
		want         int
	}{
		{"by name", c, "GET", "/api/objects", nil, 200},
		{"by address", c, "GET", "/api/objects", []string{"Host", "127.0.0.1:20001"}, 200},
		{"by IPv6 address", c, "GET", "/api/objects", []string{"Host", "[::1]:20001"}, 200},
		{"rebound name", c, "GET", "/api/objects", []string{"Host", "evil.example:20001"}, 421},
		{"name with a local part", c, "GET", "/api/objects", []string{"Host", "localhost.evil.example"}, 421},
		{"other address", c, "GET", "/api/objects", []string{"Host", "10.0.0.1"}, 421},
		{"no name", c, "GET", "/api/objects", []string{"Host", ""}, 421},
		{"own page", c, "POST", "/api/apply", []string{"Origin", "http://localhost:20001", "Sec-Fetch-Site", "same-origin"}, 200},
		{"other site's page", c, "POST", "/api/apply", []string{"Origin", "http://evil.example"}, 403},
		{"other port's page", c, "POST", "/api/apply", []string{"Origin", "http://localhost:3000"}, 403},
		{"other site's page that reads", c, "GET", "/api/objects", []string{"Sec-Fetch-Site", "cross-site"}, 403},
		{"sandboxed page", c, "POST", "/api/apply", []string{"Origin", "null"}, 403},
		{"link from another site", c, "GET", "/", []string{"Sec-Fetch-Site", "cross-site"}, 200},
		{"read-only", readOnly, "POST", "/api/apply", nil, 403},
		{"read-only, no change", readOnly, "POST", "/api/apply?dryRun=true", nil, 200},
		{"read-only, question", readOnly, "POST", "/api/validate", nil, 200},
		{"read-only, deletion", readOnly, "DELETE", "/api/objects/vs/default/reviews", nil, 403},
		{"another method", c, "PUT", "/api/apply", nil, 405},
	} {
		if got, text := ask(t, x.of, x.method, x.path, route, x.headers...); got != x.want {
			t.Errorf("%s: %d %s, want %d", x.name, got, text, x.want)
		}
	}
}

func TestFiles(t *testing.T) {
	c := serve(t, &plane{}, func(o *Options) {
		o.Files = fstest.MapFS{"index.html": {Data: []byte("<html>page")}, "app-3XKQ2M7A.js": {Data: []byte("run()")}}
	})
	for path, want := range map[string]struct {
		status int
		body   string
		cache  string
	}{
		"/":                      {200, "<html>page", "no-cache"},
		"/graph":                 {200, "<html>page", "no-cache"},
		"/services/default/shop": {200, "<html>page", "no-cache"},
		"/app-3XKQ2M7A.js":       {200, "run()", "public, max-age=31536000, immutable"},
		"/app-OLD22222.js":       {404, "", ""},
	} {
		r := httptest.NewRequest("GET", "http://localhost"+path, nil)
		w := httptest.NewRecorder()
		c.ServeHTTP(w, r)
		if w.Code != want.status || want.status == 200 && w.Body.String() != want.body || w.Header().Get("Cache-Control") != want.cache {
			t.Errorf("%s: %d %q %q", path, w.Code, w.Body, w.Header().Get("Cache-Control"))
		}
		if p := w.Header().Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "http") {
			t.Errorf("%s: policy %q", path, p)
		}
	}
	if status, text := ask(t, serve(t, &plane{}, nil), "GET", "/", ""); status != 200 || !strings.Contains(text, "openapi.yaml") {
		t.Errorf("without pages: %d %s", status, text)
	}
}

func TestObjects(t *testing.T) {
	c := serve(t, &plane{}, nil)
	if status, text := ask(t, c, "POST", "/api/apply?file=page", strings.ReplaceAll(route, "hosts", "hots")); status != 422 || !strings.Contains(text, "hots") {
		t.Errorf("broken: %d %s", status, text)
	}
	if status, text := ask(t, c, "POST", "/api/validate", strings.ReplaceAll(route, "hosts", "hots")); status != 200 || !strings.Contains(text, `"valid":false`) || !strings.Contains(text, `"line":6`) {
		t.Errorf("validate broken: %d %s", status, text)
	}
	status, text := ask(t, c, "POST", "/api/validate", route)
	if status != 200 || !strings.Contains(text, `"valid":true`) || !strings.Contains(text, "created") {
		t.Errorf("validate: %d %s", status, text)
	}
	if status, text := ask(t, c, "GET", "/api/objects/virtualservice/default/reviews", ""); status != 404 {
		t.Errorf("validating applied it: %d %s", status, text)
	}
	if status, text := ask(t, c, "POST", "/api/apply", route); status != 200 {
		t.Fatalf("apply: %d %s", status, text)
	}
	status, text = ask(t, c, "GET", "/api/objects/virtualservice/default/reviews", "")
	var o objectView
	if err := errors.Join(json.Unmarshal([]byte(text), &o)); err != nil || status != 200 {
		t.Fatalf("%d %s %v", status, text, err)
	}
	if o.Kind != "VirtualService" || o.Verdict != verdict.Effective || !strings.Contains(o.YAML, "subset: v1") {
		t.Errorf("%+v", o)
	}
	if status, text := ask(t, c, "DELETE", "/api/objects/vs/default/reviews", ""); status != 200 || !strings.Contains(text, "deleted") {
		t.Errorf("delete: %d %s", status, text)
	}
	if status, text := ask(t, c, "DELETE", "/api/objects/vs/default/reviews", ""); status != 404 {
		t.Errorf("delete again: %d %s", status, text)
	}
}

func TestSecretsStay(t *testing.T) {
	c := serve(t, &plane{}, nil)
	secret := "apiVersion: v1\nkind: Secret\nmetadata: {name: keys}\ntype: Opaque\nstringData: {password: hunter2}\n"
	if status, text := ask(t, c, "POST", "/api/apply", secret); status != 200 {
		t.Fatalf("%d %s", status, text)
	}
	status, text := ask(t, c, "GET", "/api/objects/secret/default/keys", "")
	if status != 200 || strings.Contains(text, "hunter2") || strings.Contains(text, "aHVudGVyMg") || !strings.Contains(text, withheld) {
		t.Errorf("%d %s", status, text)
	}
}

func TestMesh(t *testing.T) {
	p := &plane{info: PlaneInfo{Version: "1.2", Generation: 3, Revision: 7}, proxies: []push.ProxyStatus{
		{Name: "a.default", Revision: 3, Offered: 3}, {Name: "b.default", Revision: 2, Offered: 3}, {Name: "c.default", Revision: 3, Offered: 3, Refusals: []string{"no"}},
	}}
	status, text := ask(t, serve(t, p, nil), "GET", "/api/mesh", "")
	var v meshView
	if err := json.Unmarshal([]byte(text), &v); err != nil || status != 200 {
		t.Fatalf("%d %s %v", status, text, err)
	}
	if v.Proxies != (proxyCounts{3, 1, 1, 1}) || !v.ControlPlane.Ready || v.ControlPlane.Revision != 7 {
		t.Errorf("%+v", v)
	}
	if status, text := ask(t, serve(t, p, nil), "GET", "/api/proxies/d.default", ""); status != 404 {
		t.Errorf("%d %s", status, text)
	}
	if status, text := ask(t, serve(t, p, nil), "GET", "/api/proxies/d.default/config", ""); status != 404 || !strings.Contains(text, "no proxy d.default") {
		t.Errorf("%d %s", status, text)
	}
}

// TestEvents: a page is told what to read again, and its going ends the stream.
func TestEvents(t *testing.T) {
	p := &plane{changed: make(chan struct{})}
	srv := httptest.NewServer(serve(t, p, nil))
	defer srv.Close()
	resp, err := http.Get(srv.URL + "/api/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 256)
	n, err := resp.Body.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "event: hello\ndata: {") {
		t.Fatalf("%q %v", buf[:n], err)
	}
	moved := p.changed
	close(moved)
	n, err = resp.Body.Read(buf)
	if err != nil || !strings.HasPrefix(string(buf[:n]), "event: proxies\n") {
		t.Fatalf("%q %v", buf[:n], err)
	}
}
