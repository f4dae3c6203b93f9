package cluster

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/pprof"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/controlplane"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// pages are the port 15014; see the package's documentation for the paths.
type pages struct {
	core    *controlplane.Core
	access  access
	objects push.Objects
	mesh    func() *meshconfig.MeshConfig
	inject  *injection
	health  *health
	roots   func() []byte // PEM
}

// handler serves the pages.
func (p *pages) handler(o Options) http.Handler {
	general := p.core.Handler()
	mux := http.NewServeMux()
	for _, open := range []string{"/metrics", "/version"} {
		mux.Handle("GET "+open, general)
	}
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, r *http.Request) { p.health.handler().ServeHTTP(w, r) })
	mux.Handle("GET /debug/", p.access.guard(whole(general)))
	mux.Handle("GET /debug/{$}", p.access.guard(whole(http.HandlerFunc(index))))
	mux.Handle("GET /debug/config_dump", p.access.guard(ofProxy(general)))
	mux.Handle("GET /debug/syncz", p.access.guard(p.syncz))
	mux.Handle("GET /debug/mesh", p.access.guard(whole(http.HandlerFunc(p.meshConfig))))
	mux.Handle("GET /debug/inject", p.access.guard(whole(http.HandlerFunc(p.injector))))
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/profile": pprof.Profile, "/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.Handle("GET "+path, p.access.guard(whole(h)))
	}
	objects := configapi.NewHandler(configapi.Deps{
		Store: readOnly{p.objects}, Statuses: p.core, Progress: p.core, Log: ops.Scope(o.Log, "configapi"),
	})
	config := p.access.guard(whole(objects))
	for _, path := range []string{"objects", "status", "wait"} {
		mux.Handle("GET /v1/"+path, config)
	}
	// The console is for those who see everything, and only reads: what is in force here
	// is the cluster's, whose API server decides who changes it.
	board := p.access.guard(whole(p.core.Console(controlplane.ConsoleOptions{Config: objects, Roots: p.roots, Home: "kubernetes", ReadOnly: true})))
	mux.Handle("/api/", board)
	mux.Handle("/", board)
	// Of the mesh's API only what reads: the workloads are the cluster's to tell.
	state := meshapi.NewReader(p.core)
	mux.Handle("GET /v1/names", p.access.guard(whole(state)))
	mux.Handle("GET /v1/proxies", p.access.guard(p.proxies))
	return mux
}

// index lists the pages, as Istio's /debug does.
func index(w http.ResponseWriter, _ *http.Request) {
	answer(w, []string{
		"/debug/adsz", "/debug/config_dump?proxyID=NAME.NAMESPACE", "/debug/configz", "/debug/connections", "/debug/endpointz", "/debug/inject",
		"/debug/mesh", "/debug/pprof/", "/debug/push_status", "/debug/registryz", "/debug/status", "/debug/syncz",
		"/v1/names?version=0", "/v1/objects", "/v1/proxies", "/v1/status", "/v1/wait?revision=N",
	})
}

// visible are the proxies that a viewer may see.
func (p *pages) visible(v viewer) []push.ProxyStatus {
	return slices.DeleteFunc(p.core.Proxies(), func(s push.ProxyStatus) bool { return !v.sees(s.Name) })
}

func (p *pages) syncz(w http.ResponseWriter, _ *http.Request, v viewer) { answer(w, p.visible(v)) }

func (p *pages) proxies(w http.ResponseWriter, _ *http.Request, v viewer) { answer(w, p.visible(v)) }

func (p *pages) meshConfig(w http.ResponseWriter, _ *http.Request) {
	text, err := protojson.MarshalOptions{Multiline: true, Indent: "  "}.Marshal(p.mesh())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // the client's departure is its own affair
}

// injector shows the injector's configuration as it is in force.
func (p *pages) injector(w http.ResponseWriter, _ *http.Request) {
	config, values := p.inject.documents()
	answer(w, map[string]any{"ready": p.inject.current.Load() != nil, "config": string(config), "values": string(values)})
}

func answer(w http.ResponseWriter, v any) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(text, '\n')) // the client's departure is its own affair
}

// readOnly shows the cluster's objects through the configuration API.
type readOnly struct{ objects push.Objects }

// Snapshot implements configapi.Store. The versions that the API compares are the
// store's; what is listed here is in the engine or will be in a moment.
func (r readOnly) Snapshot() ([]*api.Object, int64) {
	list, revision := r.objects.Snapshot()
	out := make([]*api.Object, len(list))
	for i, o := range list {
		c := *o
		c.Meta.Version = 0
		out[i] = &c
	}
	return out, revision
}

var errReadOnly = errors.New("the objects are the cluster's: change them with kubectl")

// Apply implements configapi.Store.
func (readOnly) Apply([]*api.Object) (store.Result, error) { return store.Result{}, errReadOnly }

// Plan implements configapi.Store: what is new and what is there, for who only looks.
func (r readOnly) Plan(objects []*api.Object) (store.Result, error) {
	list, revision := r.objects.Snapshot()
	there := map[verdict.Ref]bool{}
	for _, o := range list {
		there[o.Ref()] = true
	}
	result := store.Result{Revision: revision}
	for _, o := range objects {
		change := store.Created
		if there[o.Ref()] {
			change = store.Configured
		}
		result.Outcomes = append(result.Outcomes, store.Outcome{Object: o, Change: change})
	}
	return result, nil
}

// Delete implements configapi.Store.
func (readOnly) Delete([]verdict.Ref) (store.Result, error) { return store.Result{}, errReadOnly }

// PlanDelete implements configapi.Store.
func (readOnly) PlanDelete([]verdict.Ref) (store.Result, error) { return store.Result{}, errReadOnly }
