package console

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
	"time"
)

type (
	obj  = map[string]any
	list = []any
)

// policy is what internal/console sends: the pages must live under it here, too.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// fixture is a server with a made-up mesh.
type fixture struct {
	*httptest.Server
	mu      sync.Mutex
	applied []string // bodies
	foreign []string // requests that name another host
}

// serve starts the server; graph answers /api/graph.
func serve(t *testing.T, graph func(view string) obj) *fixture {
	t.Helper()
	f := &fixture{}
	mux := http.NewServeMux()
	pages := os.DirFS("../../web/dist")
	if _, err := os.Stat("../../web/dist/index.html"); err != nil {
		t.Fatal(err)
	}
	mux.Handle("GET /", http.FileServerFS(pages))
	f.read(mux, graph)
	f.write(mux)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}

// read serves what is only read.
func (f *fixture) read(mux *http.ServeMux, graph func(view string) obj) {
	get := func(p string, v func(r *http.Request) any) {
		mux.HandleFunc("GET "+p, func(w http.ResponseWriter, r *http.Request) { answer(w, v(r)) })
	}
	get("/api/graph", func(r *http.Request) any {
		view := r.URL.Query().Get("view")
		if view == "" {
			view = "versionedApp"
		}
		return graph(view)
	})
	get("/api/mesh", func(*http.Request) any { return meshInfo() })
	get("/api/namespaces", func(*http.Request) any {
		return list{obj{"name": "default", "services": 4, "workloads": 6, "objects": 7, "health": "degraded"}, obj{"name": "istio-system", "services": 1, "workloads": 1, "objects": 0, "health": "healthy"}}
	})
	get("/api/services", func(*http.Request) any { return services() })
	get("/api/services/{ns}/{name}", func(r *http.Request) any { return service(r.PathValue("name")) })
	get("/api/workloads", func(*http.Request) any { return workloads() })
	get("/api/workloads/{ns}/{name}", func(r *http.Request) any { return workload(r.PathValue("name")) })
	get("/api/gateways", func(*http.Request) any { return gateways() })
	get("/api/objects", func(*http.Request) any { return obj{"revision": 9, "compiled": 9, "objects": objects()} })
	get("/api/objects/{kind}/{ns}/{name}", func(r *http.Request) any { return stored(r.PathValue("kind"), r.PathValue("name")) })
	get("/api/proxies", func(*http.Request) any { return proxies() })
	get("/api/traces", func(*http.Request) any { return traces() })
	get("/api/traces/{id}", func(r *http.Request) any { return trace(r.PathValue("id")) })
	get("/api/wait", func(*http.Request) any {
		return obj{"revision": 10, "proxies": list{obj{"proxy": "reviews-v1-0.default", "state": "in-force"}}}
	})
	get("/api/v1/query_range", func(*http.Request) any {
		return obj{"status": "success", "data": obj{"resultType": "matrix", "result": list{obj{"metric": obj{"response_code": "200"}, "values": samples()}}}}
	})
	mux.HandleFunc("GET /api/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "event: hello\ndata: {\"at\":1}\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
}

// write serves what checks and changes.
func (f *fixture) write(mux *http.ServeMux) {
	mux.HandleFunc("POST /api/validate", func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		v := obj{"valid": true, "problems": list{}, "warnings": list{}, "objects": list{}, "verdicts": list{}}
		for i, l := range strings.Split(string(text), "\n") {
			if strings.Contains(l, "wieght") {
				v["valid"] = false
				v["problems"] = list{obj{"line": i + 1, "path": "spec.http[0].route[0]", "message": `unknown field "wieght"; did you mean "weight"?`}}
			}
		}
		for d := range strings.SplitSeq(string(text), "\n---\n") {
			if kind := between(d, "kind: ", "\n"); kind != "" && v["valid"] == true {
				name := between(d, "\n  name: ", "\n")
				v["objects"] = append(v["objects"].(list), obj{"kind": kind, "resource": strings.ToLower(kind), "namespace": "default", "name": name, "change": "configured"})
				v["verdicts"] = append(v["verdicts"].(list), obj{"kind": kind, "namespace": "default", "name": name, "verdict": "Effective"})
			}
		}
		answer(w, v)
	})
	mux.HandleFunc("POST /api/apply", func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.applied = append(f.applied, string(text))
		f.mu.Unlock()
		answer(w, obj{"revision": 10, "objects": list{obj{"kind": "VirtualService", "resource": "virtualservice", "namespace": "default", "name": "reviews", "change": "configured"}}})
	})
	mux.HandleFunc("POST /api/explain", func(w http.ResponseWriter, r *http.Request) {
		answer(w, obj{"text": "", "explanation": obj{
			"request": "GET http://reviews:9080/", "answer": "The request goes to reviews.default.svc.cluster.local.", "steps": list{},
			"destinations": list{
				obj{"cluster": "outbound|9080|v1|reviews.default.svc.cluster.local", "percent": 80},
				obj{"cluster": "outbound|9080|v3|reviews.default.svc.cluster.local", "percent": 20}},
		}})
	})
}

func between(s, a, b string) string {
	_, s, _ = strings.Cut(s, a)
	s, _, _ = strings.Cut(s, b)
	return s
}

// moment is what the fixture takes for the present.
var moment = float64(time.Now().Unix())

func rates(rate, errors, p50 float64) obj {
	codes := obj{"200": rate * (1 - errors)}
	if errors > 0 {
		codes["503"] = rate * errors
	}
	return obj{"rate": rate, "errorShare": errors, "p50": p50, "p95": p50 * 3.1, "p99": p50 * 6.4, "bytesSent": rate * 420, "bytesReceived": rate * 5100, "codes": codes}
}

func samples() list {
	var out list
	for i := range 120 {
		out = append(out, list{moment - 600 + float64(i)*5, fmt.Sprint(6 + 2*math.Sin(float64(i)/9))})
	}
	return out
}

func chart(id, unit string, scale float64, names ...string) obj {
	var times list
	for i := range 60 {
		times = append(times, moment-600+float64(i)*10)
	}
	var lines list
	for n, name := range names {
		var values list
		for i := range 60 {
			values = append(values, scale*(float64(n)*0.9+1)*(1+0.22*math.Sin(float64(i)/5+float64(n))+0.06*math.Sin(float64(i*i))))
		}
		lines = append(lines, obj{"name": name, "values": values})
	}
	return obj{"id": id, "unit": unit, "times": times, "lines": lines}
}

func charts() list {
	return list{
		chart("inbound-rate", "per second", 6, "2xx", "5xx"), chart("inbound-latency", "milliseconds", 9, "p50", "p95", "p99"),
		chart("inbound-sources", "per second", 3, "productpage-v1", "istio-ingressgateway"), chart("inbound-bytes", "bytes per second", 42000, "sent", "received"),
	}
}

func edge(source, target, protocol string, r obj, mtls float64) obj {
	return obj{"id": source + ">" + target + "/" + protocol, "source": source, "target": target, "protocol": protocol, "rates": r, "mtls": mtls, "reporter": "source",
		"sourcePrincipal": "spiffe://cluster.local/ns/default/sa/" + path.Base(source), "targetPrincipal": "spiffe://cluster.local/ns/default/sa/" + path.Base(target), "services": list{path.Base(path.Dir(target)) + ".default.svc.cluster.local"}}
}
