package push

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// statuses are the verdicts of a build.
type statuses struct {
	global     []verdict.Status
	perVariant map[string][]verdict.Status
}

// objectVersions tells the store's revision at which each object last changed.
type objectVersions map[verdict.Ref]int64

func versionsOf(objects []*api.Object) objectVersions {
	m := make(objectVersions, len(objects))
	for _, o := range objects {
		m[o.Ref()] = o.Meta.Version
	}
	return m
}

// Refusal is a resource that a proxy does not take.
type Refusal struct {
	server.Refusal
	// Object is what the resource was made from: of several objects the one that
	// changed last. It is zero where Lateen made the resource by default.
	Object verdict.Origin
}

// ProxyReport says how far a proxy is.
type ProxyReport struct {
	Proxy     string // "reviews-v1-0.default"
	Node      string // node id
	Agent     string // user agent of the node
	Version   string // Istio's metadata ISTIO_VERSION; "" where the node has none
	DataPlane ir.DataPlane
	Since     time.Time // of the connection
	Identity  *server.Identity
	Offered   int64 // build that it should have; -1 before the first
	Settled   int64 // newest build that it answered completely; -1 before the first
	Types     []server.TypeReport
	Refusals  []Refusal
	// Waiting says what is outstanding; "" where nothing is.
	Waiting string
	// Reached is true when the proxy has answered, well or not, for everything up to
	// the build that was asked about.
	Reached bool
}

// Proxies reports on all connected proxies, by name. Clients without an identity
// are left out.
func (e *Engine) Proxies() []ProxyReport { return e.reports(0) }

// reports reports on all proxies; Reached is held against a build.
func (e *Engine) reports(generation int64) []ProxyReport {
	var versions objectVersions
	if b := e.built.Load(); b != nil {
		versions = b.versions
	}
	list := []ProxyReport{}
	for _, c := range e.proxies() {
		r := c.report(versions)
		r.Reached = c.reached(generation)
		list = append(list, r)
	}
	return list
}

func (c *client) report(versions objectVersions) ProxyReport {
	r := c.conn.Report()
	p := ProxyReport{
		Proxy: c.proxy, Node: c.node.ID, Agent: c.conn.Node.GetUserAgentName(), Version: c.conn.Node.GetMetadata().GetFields()["ISTIO_VERSION"].GetStringValue(), DataPlane: c.node.DataPlane, Since: c.conn.Since, Identity: c.conn.Identity,
		Offered: r.Offered, Settled: r.Settled, Types: r.Types, Waiting: waitingFor(r),
	}
	for _, f := range r.Refusals() {
		x := Refusal{Refusal: f}
		if o := c.offered.Load(); o != nil {
			x.Object = newest(o.originsOf(f.TypeURL, f.Name), versions)
		}
		p.Refusals = append(p.Refusals, x)
	}
	return p
}

// newest picks the origin whose object changed last: most likely its change is
// what the proxy refuses.
func newest(origins []verdict.Origin, versions objectVersions) verdict.Origin {
	var best verdict.Origin
	at := int64(-1)
	for _, o := range origins {
		if v := versions[o.Ref]; v > at {
			best, at = o, v
		}
	}
	return best
}

// waitingFor says what a client has not done yet.
func waitingFor(r server.Report) string {
	asked := map[string]bool{}
	var behind []string
	for _, t := range r.Types {
		asked[t.TypeURL] = true
		if !t.Synced {
			behind = append(behind, shortName(t.TypeURL))
		}
	}
	switch {
	case r.Offered < 0:
		return "its first configuration"
	case !asked[build.ClusterType]:
		return "its first request for clusters"
	case !asked[build.ListenerType]:
		return "its first request for listeners"
	case len(behind) > 0:
		return "its answer to " + strings.Join(behind, ", ")
	case r.Settled < r.Offered:
		return "the removal of what is no longer used"
	}
	return ""
}

// shortName is Istio's short name of a type, as in `proxy-status`.
func shortName(typeURL string) string {
	switch typeURL {
	case build.ClusterType:
		return "cds"
	case build.EndpointType:
		return "eds"
	case build.ListenerType:
		return "lds"
	case build.RouteType:
		return "rds"
	case build.SecretType:
		return "sds"
	case wire.NameTableType:
		return "nds"
	}
	return server.ShortType(typeURL)
}

// Wait blocks until every connected proxy has answered for everything that the
// objects' revision, and the workloads known by now, brought, or until ctx ends;
// in that case too it returns how far the proxies are. generation is the build
// that the reports are to be held against. The error says that the revision is not
// compiled yet.
func (e *Engine) Wait(ctx context.Context, revision int64) (reports []ProxyReport, generation int64, err error) {
	e.mu.Lock()
	told := e.told // workloads that were told before count as well
	e.mu.Unlock()
	for {
		e.mu.Lock()
		moved := e.progress
		e.mu.Unlock()
		if b := e.built.Load(); b != nil && b.revision >= revision && b.told >= told {
			if generation == 0 {
				generation = b.generation // the first build that has it; later ones need not be waited for
			}
			if e.answered(generation) {
				reports = e.reports(generation)
				if !slices.ContainsFunc(reports, func(r ProxyReport) bool { return !r.Reached }) { // nobody came meanwhile
					return reports, generation, nil
				}
			}
		}
		select {
		case <-moved:
		case <-ctx.Done():
			if generation == 0 {
				return nil, 0, fmt.Errorf("revision %d is not compiled yet: %w", revision, context.Cause(ctx))
			}
			return e.reports(generation), generation, nil
		}
	}
}

// answered reports whether every proxy has reached a build.
func (e *Engine) answered(generation int64) bool {
	for _, c := range e.proxies() {
		if !c.reached(generation) {
			return false
		}
	}
	return true
}

// Statuses returns the verdicts on all objects, sorted, with those on resources
// that proxies refuse, and the objects' revision that they were made from; -1
// before the first build.
func (e *Engine) Statuses() ([]verdict.Status, int64) {
	b := e.built.Load()
	if b == nil {
		return nil, -1
	}
	all := append([]verdict.Status(nil), b.statuses.global...)
	for _, list := range b.statuses.perVariant {
		all = append(all, list...)
	}
	for _, c := range e.proxies() {
		if o := c.offered.Load(); o != nil && b.statuses.perVariant[e.variantOf(c)] == nil {
			all = append(all, o.statuses...) // connected after the build
		}
		for _, f := range c.report(b.versions).Refusals {
			if !f.Object.IsZero() {
				all = append(all, verdict.Status{
					Origin: f.Object, Code: verdict.Invalid,
					Message: fmt.Sprintf("%s refuses %s %s: %s", c.proxy, server.ShortType(f.TypeURL), f.Name, strings.TrimSpace(f.Message)),
				})
			}
		}
	}
	return verdict.Sort(all), b.revision
}

// Dump is what a proxy should have, for `proxy-config` and /debug/config_dump.
type Dump struct {
	Proxy string
	Node  *server.Conn
	State *server.State // nil before the first offer
}

// Dump finds a proxy by its name ("reviews-v1-0.default") or its node id; of
// several connections of one proxy the newest.
func (e *Engine) Dump(proxy string) (d Dump, ok bool) {
	for _, c := range e.clientList() {
		if c.proxy == proxy || c.node.ID == proxy {
			d, ok = Dump{Proxy: c.proxy, Node: c.conn, State: c.conn.State()}, true
		}
	}
	return d, ok
}

// Origins tells what objects a proxy's resource was made from.
func (e *Engine) Origins(proxy, typeURL, name string) []verdict.Origin {
	for _, c := range e.clientList() {
		if o := c.offered.Load(); o != nil && (c.proxy == proxy || c.node.ID == proxy) {
			return o.originsOf(typeURL, name)
		}
	}
	return nil
}
