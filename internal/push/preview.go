package push

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/xds/build"
)

// ErrUnknownProxy is of a proxy that is not connected.
var ErrUnknownProxy = errors.New("no such proxy is connected")

// Preview is what a connected proxy would have.
type Preview struct {
	Node      compile.Node
	Resources []build.Resource
}

// Preview compiles what a connected proxy would have if further objects were
// applied; they replace those of their names. Nothing is offered or remembered.
// proxy is "INSTANCE.NAMESPACE", or "WORKLOAD.NAMESPACE" for any of its instances.
func (e *Engine) Preview(proxy string, with []*api.Object) (Preview, error) {
	c := e.connected(proxy)
	last := e.built.Load()
	if c == nil || last == nil {
		return Preview{}, fmt.Errorf("%s: %w", proxy, ErrUnknownProxy)
	}
	e.mu.Lock()
	workloads := e.workloads
	e.mu.Unlock()
	objects, _ := e.o.Objects.Snapshot()
	config, _, _ := e.o.read(replaced(objects, with))
	snap, _ := mesh.Build(config, e.o.inputs(workloads, last.vips))
	p, _ := compile.Proxy(snap, c.node, last.prior)
	set, err := build.Resources(p)
	if err != nil {
		return Preview{}, err
	}
	return Preview{c.node, slices.Concat(set.Listeners, set.Routes, set.Clusters, set.Endpoints)}, nil
}

// connected finds a proxy by its name, or by that of its workload.
func (e *Engine) connected(name string) *client {
	workload, namespace, _ := strings.Cut(name, ".")
	var found *client
	for _, c := range e.clientList() {
		if c.proxy == name {
			return c
		}
		if found == nil && c.node.Workload == workload && c.node.Namespace == namespace {
			found = c
		}
	}
	return found
}

// replaced gives the objects with those of with in the places of their names.
func replaced(objects, with []*api.Object) []*api.Object {
	list := slices.DeleteFunc(slices.Clone(objects), func(o *api.Object) bool {
		return slices.ContainsFunc(with, func(w *api.Object) bool { return w.Ref() == o.Ref() })
	})
	return append(list, with...)
}
