package gatewayapi

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Read reads the Gateway API's objects among objs; Namespaces, Services and Secrets
// are looked up in the same list. The mesh.Config holds Routes and Gateways only, to be
// added to what package istioapi reads of the same objects. The result does not depend
// on the order of objs.
func Read(objs []*api.Object, o Options) (mesh.Config, []Status, []verdict.Status) {
	sorted := slices.Clone(objs)
	slices.SortFunc(sorted, func(a, b *api.Object) int { return a.Ref().Compare(b.Ref()) })
	r := &reader{o: o, index: newIndex(sorted, &o), gateways: map[key]*gateway{}}
	for _, obj := range sorted {
		switch spec := obj.Spec.(type) {
		case *gatewayv1.GatewayClass:
			r.class(obj, spec)
		case *gatewayv1.Gateway:
			r.gateway(obj, spec)
		}
	}
	for _, obj := range sorted {
		switch spec := obj.Spec.(type) {
		case *gatewayv1.HTTPRoute:
			r.httpRoute(obj, spec)
		case *gatewayv1.GRPCRoute:
			r.grpcRoute(obj, spec)
		case *gatewayv1.ReferenceGrant:
			r.say(obj.Origin(), verdict.Effective, "")
		}
	}
	for _, g := range r.ordered {
		r.finish(g)
	}
	return r.cfg, r.statuses, verdict.Sort(r.said)
}

// reader collects what has been read.
type reader struct {
	*index
	o        Options
	gateways map[key]*gateway // ours
	ordered  []*gateway
	cfg      mesh.Config
	statuses []Status
	said     []verdict.Status
}

// say adds a verdict.
func (r *reader) say(at verdict.Origin, code verdict.Code, format string, args ...any) {
	r.by(at, code, verdict.Ref{}, format, args...)
}

func (r *reader) by(at verdict.Origin, code verdict.Code, by verdict.Ref, format string, args ...any) {
	r.said = append(r.said, verdict.Status{Origin: at, Code: code, By: by, Message: fmt.Sprintf(format, args...)})
}

func metaOf(o *api.Object) mesh.Meta {
	return mesh.Meta{Origin: o.Origin(), Created: o.Meta.Created}
}

func list(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }

// value is what a pointer points to, or a default where it is nil.
func value[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
