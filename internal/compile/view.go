package compile

import (
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/sum"
)

// View is a mesh as one proxy sees it. It compiles what hosts contribute to the
// proxy's configuration one by one, and tells what it had to ask for each: whoever
// keeps results need not compile again where all answers are the same. It is not
// safe for concurrent use.
type View struct {
	snap   *mesh.Snapshot
	node   Node
	prior  Prior
	placed *caller // nil until it is asked for
	scoped bool    // bounds is known
	bounds *mesh.SidecarScope
	trace  *trace // of the compilation that runs; nil: nobody wants to know
}

// NewView looks at a mesh with the eyes of a proxy.
func NewView(snap *mesh.Snapshot, node Node, prior Prior) *View {
	return &View{snap: snap, node: node, prior: prior}
}

// scope finds what bounds a sidecar; nil for gateways and where nothing does.
func (v *View) scope() *mesh.SidecarScope {
	if !v.scoped {
		if v.scoped = true; v.node.Kind != Router {
			v.bounds = v.snap.SidecarScope(v.node.Namespace, v.node.Labels)
		}
	}
	return v.bounds
}

// Answer answers a question anew.
func (v *View) Answer(q Question) uint64 {
	switch {
	case q.about < aboutMesh:
		return v.factOf(q.about, q.name)
	case q.about == remembered:
		rule, ok := v.prior[q.name]
		if !ok {
			return 0
		}
		return sum.Of(rule)
	}
	return v.snap.Rev(mesh.Part(q.about-aboutMesh), q.name)
}

// ask answers a question and notes it.
func (v *View) ask(a about, name string) uint64 {
	q := Question{a, name}
	answer := v.Answer(q)
	if v.trace != nil {
		v.trace.note(q, answer)
	}
	return answer
}

// read notes that a part of the mesh is read.
func (v *View) read(p mesh.Part, name string) {
	if v.trace != nil {
		v.ask(aboutPart(p), name)
	}
}

// seen is the mesh for what is compiled host by host: all reading goes through it
// and is noted. Its methods are those of the snapshot.
type seen struct{ v *View }

// Settings are the mesh's.
func (s seen) Settings() *mesh.Settings {
	s.v.read(mesh.TheSettings, "")
	return s.v.snap.Settings()
}

// Routes lists the rule sets for a host on a client's sidecar.
func (s seen) Routes(c client, host string) []*mesh.RouteSet {
	s.v.read(mesh.Rules, host)
	return s.v.snap.Routes(c, host)
}

// Aliases lists the other names of a host; they are part of its shape.
func (s seen) Aliases(c client, h *mesh.Host) []*mesh.Host {
	s.v.read(mesh.Shape, h.Name)
	return s.v.snap.Aliases(c, h.Name)
}

// Policy finds the policy for a host as a client sees it.
func (s seen) Policy(c client, h *mesh.Host) *mesh.Policy {
	s.v.read(mesh.Policies, h.Name)
	return s.v.snap.Policy(c, h)
}

// Host finds a host by its name.
func (s seen) Host(name string) (*mesh.Host, bool) {
	s.v.read(mesh.Shape, name)
	return s.v.snap.Host(name)
}

// Traffic is the traffic policy of a port of a subset, with the mesh's defaults.
func (s seen) Traffic(p *mesh.Policy, subset string, port uint16) mesh.TrafficPolicy {
	s.v.read(mesh.TheSettings, "")
	return s.v.snap.Traffic(p, subset, port)
}

// CallPolicy finds the policy for a host, as far as routes and listeners depend on it:
// nil where none of the host's says anything of them.
func (s seen) CallPolicy(c client, h *mesh.Host) *mesh.Policy {
	s.v.read(mesh.CallPolicies, h.Name)
	if !s.v.snap.ShapesCalls(h.Name) {
		return nil
	}
	return s.v.snap.Policy(c, h)
}

// Resolve finds what a destination names.
func (s seen) Resolve(d *mesh.Destination, c client, called uint16) (mesh.Target, *mesh.Missing) {
	s.v.read(mesh.Shape, d.Host)
	if d.Subset != "" {
		s.v.read(mesh.Policies, d.Host)
	}
	return s.v.snap.Resolve(d, c, called)
}

// Endpoints lists who serves a port of a host.
func (s seen) Endpoints(h *mesh.Host, p *mesh.Port) []registry.Endpoint {
	s.v.read(mesh.Endpoints, h.Name)
	return p.Endpoints
}

// MTLS resolves the mode of a workload.
func (s seen) MTLS(namespace string, labels map[string]string) mesh.MTLS {
	s.v.read(mesh.Modes, namespace)
	return s.v.snap.MTLS(namespace, labels)
}

// Remembered is the last form in which a rule acted.
func (s seen) Remembered(key string) (mesh.HTTPRule, bool) {
	if s.v.trace != nil {
		s.v.ask(remembered, key)
	}
	rule, ok := s.v.prior[key]
	return rule, ok
}
