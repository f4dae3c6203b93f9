package console

import (
	_ "embed"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Port is where the console is looked for on a machine.
const Port = 20001

// description is the API in OpenAPI's words; a test holds it against the handlers.
//
//go:embed openapi.yaml
var description []byte

// Plane is what the console asks of the control plane. Its methods are safe for
// concurrent use.
type Plane interface {
	// Snapshot is the mesh as it was last compiled; nil before that.
	Snapshot() *mesh.Snapshot
	// Proxies tells the state of every connected proxy, by name.
	Proxies() []push.ProxyStatus
	// Statuses returns the verdicts on all objects, and the revision that they were
	// made from.
	Statuses() ([]verdict.Status, int64)
	// Describe tells of the control plane itself.
	Describe() PlaneInfo
	// Preview is what a connected proxy would have with further objects; of a proxy
	// that is not there the error is push.ErrUnknownProxy.
	Preview(proxy string, with []*api.Object) (push.Preview, error)
	// Hosts are the names that the mesh's DNS answers, with their addresses.
	Hosts() map[string][]netip.Addr
	// Changed gives a channel that is closed when a build was made or a proxy has
	// come, gone or answered.
	Changed() <-chan struct{}
}

// PlaneInfo is what a control plane says of itself.
type PlaneInfo struct {
	Version    string
	NotReady   error // nil once configuration is served
	Generation int64
	Revision   int64
	Built      time.Time
	Started    time.Time
	// Pushes and Refusals count what was sent and refused since the start, by short
	// type ("cds").
	Pushes, Refusals map[string]float64
	Roots            []byte // PEM
}

// Options say what a console shows. Plane, Config, History and Pages are required.
type Options struct {
	Plane Plane
	// Config is the handler of configapi.
	Config http.Handler
	// History is what the proxies have reported, Query answers PromQL over it below
	// /api/v1/.
	History *history.Store
	Query   http.Handler
	// Reporting counts the proxies that report; nil: it is not known.
	Reporting func() int
	// Tapper gives live requests; nil: there are none.
	Tapper Tapper
	// Pages is the control plane's handler with /debug/config_dump.
	Pages http.Handler
	// Files are the pages, index.html and what it needs; nil: a console without
	// pages.
	Files fs.FS
	// Home is "machine" or "kubernetes".
	Home string
	// Name is the mesh's; may be empty.
	Name string
	// ReadOnly refuses all changes.
	ReadOnly bool
	Log      *slog.Logger     // nil: silent
	Now      func() time.Time // nil: time.Now
}

// Console serves the API and the pages. It is safe for concurrent use.
type Console struct {
	Options
	handler http.Handler
	config  configCaller
}

// New makes a console.
func New(o Options) *Console {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	c := &Console{Options: o, config: configCaller{o.Config}}
	c.handler = guard{readOnly: o.ReadOnly}.wrap(c.routes())
	return c
}

// ServeHTTP implements http.Handler.
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// routes is the table of everything that is served.
func (c *Console) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/openapi.yaml", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		_, _ = w.Write(description) // the client's departure is its own affair
	})
	for pattern, h := range c.operations() {
		mux.Handle(pattern, c.answer(h))
	}
	if c.Query != nil {
		mux.Handle("/api/v1/", c.Query)
		mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "Healthy.") })
		mux.HandleFunc("GET /-/ready", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "Ready.") })
	}
	mux.HandleFunc("GET /api/proxies/{id}/config", c.proxyConfig)
	mux.HandleFunc("GET /api/events", c.events)
	mux.HandleFunc("GET /api/tap", c.tap)
	mux.Handle("/api/", c.answer(func(r *http.Request) (any, error) {
		return nil, refuse(http.StatusNotFound, "there is no %s %s", r.Method, r.URL.Path)
	}))
	mux.Handle("/", newFiles(c.Files))
	return mux
}

// operations are those that answer JSON.
func (c *Console) operations() map[string]operation {
	return map[string]operation{
		"GET /api/mesh":                                 c.mesh,
		"GET /api/namespaces":                           c.namespaces,
		"GET /api/graph":                                c.graph,
		"GET /api/services":                             c.services,
		"GET /api/services/{namespace}/{name}":          c.service,
		"GET /api/workloads":                            c.workloads,
		"GET /api/workloads/{namespace}/{name}":         c.workload,
		"GET /api/gateways":                             c.gateways,
		"GET /api/objects":                              c.objects,
		"GET /api/objects/{kind}/{namespace}/{name}":    c.object,
		"DELETE /api/objects/{kind}/{namespace}/{name}": c.deleteObject,
		"POST /api/validate":                            c.validate,
		"POST /api/apply":                               c.apply,
		"GET /api/wait":                                 c.wait,
		"POST /api/explain":                             c.explain,
		"GET /api/proxies":                              c.proxies,
		"GET /api/proxies/{id}":                         c.proxy,
	}
}
