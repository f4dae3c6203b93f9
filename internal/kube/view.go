package kube

import (
	"slices"

	"istio.io/api/label"
	meshconfig "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// view is what readers see; immutable.
type view struct {
	revision int64
	objects  []*api.Object    // in the order of their Refs
	statuses []verdict.Status // of reading
	mesh     *meshconfig.MeshConfig
	selected map[string]bool // nil: every namespace
}

// rebuild makes the view anew and tells those whom the difference concerns. Only
// Run calls it.
func (s *Source) rebuild() {
	old := s.view.Load()
	now := &view{revision: old.revision}
	var meshStatuses []verdict.Status
	now.mesh, meshStatuses = s.readMesh(old)
	selection := selectionOf(now.mesh, s.c.namespace)
	if selection.bad != nil {
		s.log.Error("the mesh's configuration has a selector that cannot be read; it selects nothing", "err", selection.bad)
	}
	now.selected = selection.names(s.namespaces)
	c := collector{view: now, revision: s.c.revision, tags: s.tagsOf()}
	for _, t := range []*table[*item]{s.namespaces, s.services, s.accounts} {
		t.each(c.add)
	}
	s.custom.each(func(_ *api.Kind, _ schema.GroupVersionResource, t *table[*item]) { t.each(c.add) })
	s.secrets.each(c.add)
	if s.synced.Load() {
		s.keepGood(c.outdated)
	}
	now.statuses = append(now.statuses, meshStatuses...)
	for _, key := range s.named {
		ref := verdict.Ref{Kind: api.KindService, Namespace: namespaceOf(key), Name: key[len(namespaceOf(key))+1:]}
		now.statuses = append(now.statuses, verdict.Status{
			Origin: verdict.Origin{Ref: ref}, Code: verdict.NotActedOn, Message: "endpoints that are names are not acted on: its EndpointSlices of the type FQDN count for nothing",
		})
	}
	slices.SortFunc(now.objects, func(a, b *api.Object) int { return a.Ref().Compare(b.Ref()) })
	now.statuses = verdict.Sort(now.statuses)

	changed := !slices.Equal(old.objects, now.objects) || !slices.Equal(old.statuses, now.statuses) || old.mesh != now.mesh
	if changed || old.revision == 0 {
		now.revision++
	} else {
		now.objects, now.statuses = old.objects, old.statuses
	}
	s.view.Store(now)
	if changed || old.revision == 0 {
		s.tell(s.watchers)
	}
	s.tell(s.onNamespaces)
	if now.mesh != old.mesh {
		s.log.Info("the mesh's configuration is in force", "trust_domain", now.mesh.GetTrustDomain(), "root_namespace", now.mesh.GetRootNamespace())
		s.mu.Lock()
		fs := s.onMesh
		s.mu.Unlock()
		for _, f := range fs {
			f(now.mesh)
		}
	}
}

// readMesh gives the mesh's configuration in force: the old one where it is the
// same, or where the new one cannot be read. It is nil before it is known.
func (s *Source) readMesh(old *view) (*meshconfig.MeshConfig, []verdict.Status) {
	if s.mesh.settled(false) != nil || s.shared != nil && s.shared.settled(true) != nil {
		return old.mesh, nil
	}
	own, _ := s.mesh.get(s.c.namespace + "/" + s.c.Named(meshMap))
	var shared *Document
	if s.shared != nil {
		shared, _ = s.shared.get(s.c.namespace + "/" + s.c.shared)
	}
	m, statuses, err := parseMesh(s.c.namespace, shared, own)
	switch {
	case err != nil:
		ref := verdict.Ref{Kind: api.KindConfigMap, Namespace: s.c.namespace, Name: s.c.Named(meshMap)}
		statuses = []verdict.Status{{Origin: verdict.Origin{Ref: ref}, Code: verdict.Invalid, Message: err.Error()}}
		if old.mesh != nil {
			return old.mesh, statuses
		}
		// Nothing was in force before: the defaults are, and everybody hears of it.
		s.log.Error("the mesh's configuration is not in force", "err", err)
		m, _, _ = parseMesh(s.c.namespace, nil, nil)
		return m, statuses
	case sameMesh(old.mesh, m):
		return old.mesh, statuses
	}
	return m, statuses
}

// tag is a name for a revision: "prod" for "1-31".
type tag struct{ name, revision string }

// tagsOf lists the tags that lead to this revision.
func (s *Source) tagsOf() map[string]bool {
	out := map[string]bool{}
	s.tags.each(func(_ string, t tag) {
		if t.revision == s.c.revision {
			out[t.name] = true
		}
	})
	return out
}

// ipv6 reports whether a service asks for IPv6 first.
func (s *Source) ipv6(service string) bool {
	i, ok := s.services.get(service)
	if !ok {
		return false
	}
	spec, ok := i.object.Spec.(*corev1.Service)
	return ok && len(spec.Spec.IPFamilies) > 0 && spec.Spec.IPFamilies[0] == corev1.IPv6Protocol
}

// collector fills a view.
type collector struct {
	view     *view
	revision string
	tags     map[string]bool
	outdated []*api.Object // in force although a newer version exists
}

func (c *collector) add(key string, i *item) {
	namespace := namespaceOf(key)
	if i.object != nil && i.object.Kind.Name == api.KindNamespace {
		namespace = key
	}
	if namespace != "" && c.view.selected != nil && !c.view.selected[namespace] {
		return
	}
	if rev := i.labels[label.IoIstioRev.Name]; rev != "" && rev != c.revision && !c.tags[rev] && !core(i) {
		return
	}
	if i.object != nil {
		c.view.objects = append(c.view.objects, i.object)
		if i.outdated {
			c.outdated = append(c.outdated, i.object)
		}
	}
	c.view.statuses = append(c.view.statuses, i.statuses...)
}

// core reports whether an object is Kubernetes' own: its label istio.io/rev speaks
// of injection, not of who reads it.
func core(i *item) bool { return i.object != nil && i.object.Kind.Group == api.GroupCore }

// selectedNamespaces lists the namespaces that the mesh sees, but for those that
// are being deleted.
func (s *Source) selectedNamespaces() map[string]bool {
	selected := s.view.Load().selected
	out := map[string]bool{}
	s.namespaces.each(func(name string, i *item) {
		if !i.terminating && (selected == nil || selected[name]) {
			out[name] = true
		}
	})
	return out
}
