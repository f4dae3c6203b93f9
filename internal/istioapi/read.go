// Package istioapi reads objects of Istio's API, and the core Kubernetes objects
// around them, into the neutral model (package mesh). It is a front end: nothing
// after it knows the API's types.
//
// Reading never fails as a whole. What cannot act as written gets a verdict and a
// safe effect: an invalid route answers 500 with its reason, an invalid policy
// falls back to the wider scope, the rest ships. A field that is set but that
// nothing here reads yields a verdict too (coverage.go).
package istioapi

import (
	"fmt"
	"slices"

	"istio.io/api/annotation"
	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Read turns objects into the neutral model. The result does not depend on the
// order of objs: its lists are sorted by kind, namespace and name.
//
// Deployments and ConfigMaps, but for the mesh's configuration, are left to those
// who run workloads; an object of a kind that does not act yet gets that kind's
// verdict (api.Kind.Idle).
func Read(objs []*api.Object) (mesh.Config, []verdict.Status) {
	sorted := slices.Clone(objs)
	slices.SortFunc(sorted, func(a, b *api.Object) int { return a.Ref().Compare(b.Ref()) })
	r := &reader{}
	for _, o := range sorted {
		r.object(o)
	}
	return r.cfg, verdict.Sort(r.statuses)
}

// reader collects what has been read.
type reader struct {
	cfg      mesh.Config
	statuses []verdict.Status
	near     map[string]registry.Distribution // by namespace, where its annotation says so
	// onMachine is set while the mesh's configuration of one machine is read.
	onMachine bool
}

func (r *reader) object(o *api.Object) {
	meta := mesh.Meta{Origin: o.Origin(), Created: o.Meta.Created}
	switch spec := o.Spec.(type) {
	case *corev1.Namespace:
		r.namespace(o, meta)
	case *corev1.ServiceAccount:
		r.cfg.Accounts = append(r.cfg.Accounts, mesh.Account{Meta: meta, Namespace: o.Meta.Namespace, Name: o.Meta.Name})
	case *corev1.Service:
		r.service(o, meta, spec)
	case *corev1.Secret:
		r.secret(o, meta, spec)
	case *corev1.ConfigMap:
		r.configMap(o, spec)
	case *networking.VirtualService:
		r.coverage(meta.Origin, spec)
		r.virtualService(o, meta, spec)
	case *networking.DestinationRule:
		r.coverage(meta.Origin, spec)
		r.destinationRule(o, meta, spec)
	case *networking.Gateway:
		r.coverage(meta.Origin, spec)
		r.gateway(o, meta, spec)
	case *networking.ServiceEntry:
		r.coverage(meta.Origin, spec)
		r.serviceEntry(o, meta, spec)
	case *networking.WorkloadEntry:
		r.coverage(meta.Origin, spec)
		r.workloadEntry(o, meta, spec)
	case *networking.Sidecar:
		r.coverage(meta.Origin, spec)
		r.sidecar(o, meta, spec)
	case *security.PeerAuthentication:
		r.coverage(meta.Origin, spec)
		r.peerAuthentication(o, meta, spec)
	default:
		if code, message, idle := o.Kind.Idle(); idle {
			r.say(meta.Origin, code, "%s", message)
		}
	}
}

func (r *reader) namespace(o *api.Object, meta mesh.Meta) {
	r.cfg.Namespaces = append(r.cfg.Namespaces, mesh.Namespace{Meta: meta, Name: o.Meta.Name, Labels: o.Meta.Labels})
	text := o.Meta.Annotations[annotation.NetworkingTrafficDistribution.Name]
	if text == "" {
		return
	}
	d, ok := distributionOf(text)
	if !ok {
		r.say(meta.Origin.At("metadata.annotations"), verdict.NotActedOn, "the value %q of %s is not known", text, annotation.NetworkingTrafficDistribution.Name)
	}
	if r.near == nil {
		r.near = map[string]registry.Distribution{}
	}
	r.near[o.Meta.Name] = d
}

// say adds a verdict.
func (r *reader) say(at verdict.Origin, code verdict.Code, format string, args ...any) {
	r.statuses = append(r.statuses, verdict.Status{Origin: at, Code: code, Message: fmt.Sprintf(format, args...)})
}
