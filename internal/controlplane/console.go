//go:build !noconsole

package controlplane

import (
	"net/http"
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/console"
	"github.com/lateen-mesh/lateen/internal/history/query"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/web"
)

// ConsoleOptions say what a control plane's console shows besides the Core itself.
type ConsoleOptions struct {
	Config   http.Handler  // of configapi
	Roots    func() []byte // PEM
	Home     string        // "machine" or "kubernetes"
	Name     string        // of the mesh; may be empty
	ReadOnly bool
}

// Console makes the console: its API, and its pages where they are built in.
func (c *Core) Console(o ConsoleOptions) http.Handler {
	return console.New(console.Options{
		Plane: consolePlane{c, o.Roots}, Config: o.Config, Pages: c.Handler(), Files: web.Files(), Home: o.Home, Name: o.Name, ReadOnly: o.ReadOnly,
		History: c.history, Query: query.New(c.history, c.log.With("scope", "query"), c.now).Handler(), Reporting: c.hub.Reporting, Tapper: c.hub,
		Log: c.log.With("scope", "console"), Now: c.now,
	})
}

// consolePlane gives a Core the console's form.
type consolePlane struct {
	*Core
	roots func() []byte
}

// Describe implements console.Plane.
func (p consolePlane) Describe() console.PlaneInfo {
	i := console.PlaneInfo{Version: p.version, NotReady: p.Ready(), Started: p.started, Roots: p.roots()}
	if b, ok := p.engine.Build(); ok {
		i.Generation, i.Revision, i.Built = b.Generation, b.Revision, b.At
	}
	i.Pushes, i.Refusals = p.engine.Counts()
	return i
}

// Preview implements console.Plane.
func (p consolePlane) Preview(proxy string, with []*api.Object) (push.Preview, error) {
	return p.engine.Preview(proxy, with)
}

// Hosts implements console.Plane.
func (p consolePlane) Hosts() map[string][]netip.Addr {
	names, _ := p.engine.Names()
	return names.Hosts
}

// Changed implements console.Plane.
func (p consolePlane) Changed() <-chan struct{} { return p.engine.Moved() }
