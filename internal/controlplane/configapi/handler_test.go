package configapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// do sends one request without the client, as curl would.
func do(t *testing.T, d configapi.Deps, method, target, body string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	configapi.NewHandler(d).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body)))
	return w.Code, strings.TrimSpace(w.Body.String())
}

func TestRequests(t *testing.T) {
	s := serve(t, nil)
	for _, c := range []struct {
		name, method, target, body string
		status                     int
		want                       string // a part of the answer
	}{
		{"yaml body", "POST", "/v1/apply?file=x.yaml", good, 200, `{"revision":1,"objects":[{"kind":"VirtualService","resource":"virtualservice.networking.istio.io","namespace":"default","name":"reviews","change":"created"}]}`},
		{"json body", "POST", "/v1/apply?dryRun=true&namespace=shop", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"}}`, 200, `"dryRun":true,"objects":[{"kind":"ConfigMap","resource":"configmap","namespace":"shop","name":"c","change":"created"}]`},
		{"mistake", "POST", "/v1/apply?file=x.yaml", strings.Replace(good, "hosts", "host", 1), 422, `{"status":422,"problems":[{"file":"x.yaml","line":7,"object":"VirtualService default/reviews","path":"spec.host","message":"unknown field; did you mean \"hosts\"?"}]}`},
		{"unnamed input", "POST", "/v1/apply", "x", 422, `"file":"-","line":1`},
		{"nothing", "POST", "/v1/apply", "", 422, "no objects passed to apply"},
		{"get", "GET", "/v1/objects?kind=vs&name=reviews&namespace=default", "", 200, `"items":[{"apiVersion":"networking.istio.io/v1","kind":"VirtualService"`},
		{"get nothing", "GET", "/v1/objects?kind=dr", "", 200, `{"revision":1,"items":[]}`},
		{"not found", "GET", "/v1/objects?kind=vs&name=ghost", "", 404, `virtualservice.networking.istio.io \"ghost\" not found`},
		{"bad kind", "GET", "/v1/objects?kind=ghost", "", 400, "no resource type"},
		{"bad selector", "GET", "/v1/objects?selector=a+in", "", 400, `the selector \"a in\" is wrong`},
		{"delete without kind", "DELETE", "/v1/objects?name=reviews", "", 400, "a kind is required"},
		{"delete missing", "DELETE", "/v1/objects?kind=vs&name=ghost", "", 200, `"objects":[],"missing":[{"message":"virtualservice.networking.istio.io \"ghost\" not found"}]`},
		{"delete", "POST", "/v1/delete", good, 200, `"change":"deleted"`},
		{"no control plane", "GET", "/v1/status", "", 503, "no control plane is connected"},
		{"no progress", "GET", "/v1/wait?revision=1", "", 503, "no control plane is connected"},
		{"unknown path", "GET", "/v2", "", 404, "there is no GET /v2"},
		{"bad envelope", "POST", "/v1/delete", "kind: [", 422, "syntax error"},
	} {
		status, answer := do(t, *s.deps, c.method, c.target, c.body)
		if status != c.status || !strings.Contains(answer, c.want) {
			t.Errorf("%s: %d %s\nwant %d with %s", c.name, status, answer, c.status, c.want)
		}
	}
}

// fake is a control plane for tests.
type fake struct {
	statuses []verdict.Status
	compiled int64
	report   configapi.Report
	err      error
}

func (f fake) Statuses() ([]verdict.Status, int64) { return f.statuses, f.compiled }

func (f fake) Wait(ctx context.Context, revision int64) (configapi.Report, error) {
	if f.report.Revision < revision {
		<-ctx.Done()
	}
	return f.report, f.err
}

func TestStatus(t *testing.T) {
	ref := verdict.Ref{Kind: "VirtualService", Namespace: "default", Name: "reviews"}
	f := &fake{compiled: 1, statuses: []verdict.Status{
		{Origin: verdict.Origin{Ref: ref, Path: "spec.hosts[0]"}, Code: verdict.Differs, Message: "m"},
		{Origin: verdict.Origin{Ref: ref, Path: "spec.http[0]"}, Code: verdict.Shadowed, By: verdict.Ref{Kind: "VirtualService", Name: "x"}},
	}}
	s := serve(t, func(d *configapi.Deps) { d.Statuses, d.Progress = f, f })
	apply := func(text string) {
		t.Helper()
		if _, err := s.client.Apply(t.Context(), []configapi.File{{Name: "x", Content: []byte(text)}}, configapi.ChangeOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	verdicts := func() map[string]verdict.Code {
		t.Helper()
		list, err := s.client.Status(t.Context(), configapi.Query{})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]verdict.Code{}
		for _, o := range list.Objects {
			got[o.Kind+"/"+o.Name] = o.Verdict
		}
		return got
	}
	apply(good + "---\n{apiVersion: networking.istio.io/v1, kind: WorkloadGroup, metadata: {name: s}, spec: {template: {}}}\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: nn}}\n")
	want := map[string]verdict.Code{"VirtualService/reviews": verdict.Shadowed, "WorkloadGroup/s": verdict.NotActedOn, "Namespace/nn": verdict.Effective}
	if diff := cmp.Diff(want, verdicts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What was applied after the last compilation has no verdict yet.
	apply("{apiVersion: v1, kind: Namespace, metadata: {name: nn, labels: {a: b}}}")
	want["Namespace/nn"] = verdict.Waiting
	if diff := cmp.Diff(want, verdicts()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWait(t *testing.T) {
	f := &fake{report: configapi.Report{Revision: 3, Proxies: []configapi.ProxyReport{{Proxy: "a", State: configapi.InForce}}}}
	s := serve(t, func(d *configapi.Deps) { d.Progress = f })
	if r, err := s.client.Wait(t.Context(), 3, time.Minute); err != nil || !r.Done() {
		t.Errorf("%+v, %v", r, err)
	}
	f.report.Proxies[0].State = configapi.Pending
	start := time.Now()
	if r, err := s.client.Wait(t.Context(), 4, 50*time.Millisecond); err != nil || r.Done() || time.Since(start) < 50*time.Millisecond {
		t.Errorf("after the timeout: %+v, %v", r, err)
	}
	f.err = errors.New("builder stopped")
	var refused *configapi.Error
	if _, err := s.client.Wait(t.Context(), 3, time.Minute); !errors.As(err, &refused) || refused.Status != 500 || !strings.Contains(err.Error(), "waiting for revision 3: builder stopped") {
		t.Errorf("error %v", err)
	}
}

func TestFullDisk(t *testing.T) {
	s := serve(t, func(d *configapi.Deps) { d.Store = brokenStore{d.Store} })
	_, err := s.client.Apply(t.Context(), []configapi.File{{Name: "x", Content: []byte(good)}}, configapi.ChangeOptions{})
	var refused *configapi.Error
	if !errors.As(err, &refused) || refused.Status != 500 || err.Error() != "no space left" {
		t.Errorf("error %v", err)
	}
}

type brokenStore struct{ configapi.Store }

func (brokenStore) Apply([]*api.Object) (store.Result, error) {
	return store.Result{}, errors.New("no space left")
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := configapi.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if _, err := configapi.Listen(path); err == nil || !strings.Contains(err.Error(), "served by another process") {
		t.Errorf("second listener: %v", err)
	}
	// A killed process leaves its socket behind.
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	again, err := configapi.Listen(path)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	again.Close()
	if _, err := configapi.NewClient(path).Objects(t.Context(), configapi.Query{}); !errors.Is(err, configapi.ErrNotRunning) {
		t.Errorf("no socket: %v", err)
	}
}

// TestForeignServer: an answer that is not the API's is an error that says so.
func TestForeignServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := configapi.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(502)
		io.WriteString(w, "<html>")
	})}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	defer func() { srv.Close(); <-done }()
	if _, err := configapi.NewClient(path).Objects(t.Context(), configapi.Query{}); err == nil || err.Error() != "the configuration API answered 502 Bad Gateway" {
		t.Errorf("error %v", err)
	}
}
