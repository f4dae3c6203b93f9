package probes

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

func port(t *testing.T, addr string) string {
	t.Helper()
	_, p, err := net.SplitHostPort(strings.TrimPrefix(strings.TrimPrefix(addr, "https://"), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// application answers by path, over HTTP or TLS.
func application() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/ok", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "host=%s agent=%s own=%s twice=%s query=%s close=%t", r.Host, r.UserAgent(), r.Header.Get("X-Own"), strings.Join(r.Header["X-Twice"], "+"), r.URL.RawQuery, r.Close)
	})
	mux.HandleFunc("/sick", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "sick", http.StatusServiceUnavailable) })
	mux.HandleFunc("/slow", func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(10 * time.Second):
		}
	})
	mux.HandleFunc("/here", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/ok", http.StatusFound) })
	mux.HandleFunc("/away", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://192.0.2.1/ok", http.StatusFound)
	})
	mux.HandleFunc("/loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/loop", http.StatusFound) })
	mux.HandleFunc("/long", func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 20<<10)) })
	return mux
}

func TestProbes(t *testing.T) {
	plain, secure := httptest.NewServer(application()), httptest.NewTLSServer(application())
	defer plain.Close()
	defer secure.Close()
	gl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := health.NewServer()
	hs.SetServingStatus("sick", healthv1.HealthCheckResponse_NOT_SERVING)
	g := grpc.NewServer()
	healthv1.RegisterHealthServer(g, hs)
	go func() { _ = g.Serve(gl) }() // ends with Stop
	defer g.Stop()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()

	for _, x := range []struct {
		name, prober string
		code         int
		text         string
	}{
		{"number", `{"httpGet":{"path":"/ok","port":` + port(t, plain.URL) + `}}`, 200, "agent=kube-probe/1.34"},
		{"name", `{"httpGet":{"path":"ok","port":"http","scheme":"HTTP"}}`, 200, "close=true"},
		{"query", `{"httpGet":{"path":"/ok?a=b","port":"http"}}`, 200, "query=a=b"},
		{"TLS without a check", `{"httpGet":{"path":"/ok","port":"https","scheme":"HTTPS"}}`, 200, "agent="},
		{"host", `{"httpGet":{"path":"/ok","port":"http","host":"a.test"}}`, 200, "host=a.test "},
		{"host by header", `{"httpGet":{"path":"/ok","port":"http","httpHeaders":[{"name":"host","value":"b.test"}]}}`, 200, "host=b.test "},
		{"headers", `{"httpGet":{"path":"/ok","port":"http","httpHeaders":[{"name":"X-Own","value":"x"},{"name":"x-twice","value":"1"},{"name":"X-Twice","value":"2"},{"name":"User-Agent","value":"me"}]}}`, 200, "agent=me own=x twice=1+2"},
		{"sick", `{"httpGet":{"path":"/sick","port":"http"}}`, 503, "sick"},
		{"missing", `{"httpGet":{"path":"/none","port":"http"}}`, 404, ""},
		{"slow", `{"httpGet":{"path":"/slow","port":"http"},"timeoutSeconds":1}`, 500, "deadline"},
		{"redirected", `{"httpGet":{"path":"/here","port":"http"}}`, 200, "agent="},
		{"redirected away", `{"httpGet":{"path":"/away","port":"http"}}`, 302, "another host"},
		{"redirected for ever", `{"httpGet":{"path":"/loop","port":"http"}}`, 500, "10 redirections"},
		{"refused", `{"httpGet":{"path":"/ok","port":` + port(t, closed.Addr().String()) + `}}`, 500, "refused"},
		{"TCP", `{"tcpSocket":{"port":"http"}}`, 200, "ok"},
		{"TCP refused", `{"tcpSocket":{"port":` + port(t, closed.Addr().String()) + `}}`, 500, "refused"},
		{"gRPC", `{"grpc":{"port":` + port(t, gl.Addr().String()) + `}}`, 200, "ok"},
		{"gRPC sick", `{"grpc":{"port":` + port(t, gl.Addr().String()) + `,"service":"sick"}}`, 500, "NOT_SERVING"},
		{"gRPC unknown", `{"grpc":{"port":` + port(t, gl.Addr().String()) + `,"service":"none"}}`, 500, "unknown service"},
	} {
		t.Run(x.name, func(t *testing.T) {
			h, err := New(Options{
				Probers: `{"/app-health/a/livez":` + x.prober + `}`, PodIP: netip.MustParseAddr("127.0.0.1"),
				Ports: `[{"name":"http","containerPort":` + port(t, plain.URL) + `},{"name":"https","containerPort":` + port(t, secure.URL) + `,"protocol":"TCP"}]`,
			})
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequestWithContext(context.Background(), "GET", "/app-health/a/livez", nil)
			r.Header.Set("User-Agent", "kube-probe/1.34")
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != x.code || !strings.Contains(w.Body.String(), x.text) {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, x.code, x.text)
			}
		})
	}
}

// TestBody: what is passed on of an answer is bounded, as kubelet bounds it.
func TestBody(t *testing.T) {
	plain := httptest.NewServer(application())
	defer plain.Close()
	h, err := New(Options{Probers: `{"/app-lifecycle/a/prestopz":{"httpGet":{"path":"/long","port":` + port(t, plain.URL) + `}}}`, PodIP: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/app-lifecycle/a/prestopz", nil))
	if w.Code != 200 || w.Body.Len() != mostBody {
		t.Errorf("%d, %d bytes", w.Code, w.Body.Len())
	}
	w = httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/app-health/a/livez", nil))
	if w.Code != 404 {
		t.Errorf("a path without a prober: %d", w.Code)
	}
}

func TestRefused(t *testing.T) {
	for name, x := range map[string]struct{ probers, ports, err string }{
		"no JSON":       {"{", "", "probes of the application"},
		"path":          {`{"/other":{"tcpSocket":{"port":1}}}`, "", "/other"},
		"nothing":       {`{"/app-health/a/livez":{}}`, "", "exactly one"},
		"null":          {`{"/app-health/a/livez":null}`, "", "no prober"},
		"two":           {`{"/app-health/a/livez":{"tcpSocket":{"port":1},"grpc":{"port":1}}}`, "", "exactly one"},
		"scheme":        {`{"/app-health/a/livez":{"httpGet":{"port":1,"scheme":"ftp"}}}`, "", "ftp"},
		"unknown port":  {`{"/app-health/a/livez":{"tcpSocket":{"port":"http"}}}`, "[]", "http"},
		"no port":       {`{"/app-health/a/livez":{"tcpSocket":{"port":0}}}`, "", "container port"},
		"port too high": {`{"/app-health/a/livez":{"tcpSocket":{"port":70000}}}`, "", "70000"},
		"ports":         {`{}`, "{", "ports of the pod"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(Options{Probers: x.probers, Ports: x.ports, PodIP: netip.MustParseAddr("127.0.0.1")}); err == nil || !strings.Contains(err.Error(), x.err) {
				t.Errorf("error %v, want one with %q", err, x.err)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add(`{"/app-health/a/livez":{"httpGet":{"path":"/","port":"http","httpHeaders":[{"name":"a","value":"b"}]},"timeoutSeconds":3}}`)
	f.Fuzz(func(t *testing.T, text string) {
		all, err := parse(text, map[string]uint16{"http": 80})
		if err != nil {
			return
		}
		for path, p := range all {
			if p.port == 0 || p.timeout <= 0 {
				t.Errorf("%s: port %d, time-out %v", path, p.port, p.timeout)
			}
		}
	})
}
