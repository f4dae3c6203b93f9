package compile

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/sum"
)

// client is the facts of a proxy, for what is compiled host by host. Every fact that
// is asked is noted: what was compiled is good for all clients that would give the
// same answers. So nothing there may look at the Node itself. It is a mesh.Client.
type client struct{ v *View }

// In reports whether the client is of a namespace.
func (c client) In(namespace string) bool { return c.v.ask(isIn, namespace) == 1 }

// Carries reports whether the client has all of the labels.
func (c client) Carries(labels map[string]string) bool {
	return len(labels) == 0 || c.v.ask(carries, labelText(labels)) == 1
}

// Has reports whether an address is the client's own.
func (c client) Has(addr netip.Addr) bool { return c.v.ask(hasAddr, addr.String()) == 1 }

// Native reports whether the client is a proxy of ours.
func (c client) Native() bool { return c.v.ask(itsDataPlane, "") == sum.Of(ir.Native) }

// Gateway reports whether the client is a gateway.
func (c client) Gateway() bool { return c.v.ask(itsRole, "") == sum.Of(Router) }

// Redirected reports whether connections reach the client by redirection.
func (c client) Redirected() bool { return c.v.ask(itsInterception, "") == 1 }

// Label is the value of a label of the client.
func (c client) Label(key string) string {
	c.v.ask(itsLabel, key)
	return c.v.node.Labels[key]
}

// hostHeaders is what the client tells of the headers that it adds.
func (c client) hostHeaders() hostHeaders {
	c.v.ask(itsHeaders, "")
	return c.v.node.hostHeaders()
}

// AsksNames reports whether the client's workload asks the mesh for names.
func (c client) AsksNames() bool { return c.v.ask(itsNames, "") == 1 }

// IPv6 reports whether the client's own address is of IPv6.
func (c client) IPv6() bool { return c.v.ask(itsFamily, "") == 1 }

// Scope is what bounds the client; nil: nothing. In a mesh where nothing is bounded,
// as every revision of it says, it is no fact of the client.
func (c client) Scope() *mesh.SidecarScope {
	if !c.v.snap.Bounded() {
		return nil
	}
	c.v.ask(itsScope, "")
	return c.v.scope()
}

// Place is where the client is.
func (c client) Place() caller {
	c.v.ask(itsPlace, "")
	return c.v.place()
}

// factOf gives a fact of the client.
func (v *View) factOf(a about, name string) uint64 {
	n := &v.node
	switch a {
	case isIn:
		return truth(n.Namespace == name)
	case carries:
		return truth(matchesText(name, n.Labels))
	case hasAddr:
		return truth(n.addr().IsValid() && n.addr().String() == name)
	case itsDataPlane:
		return sum.Of(dataPlane(n))
	case itsRole:
		return sum.Of(n.Kind)
	case itsInterception:
		return truth(n.redirected())
	case itsLabel:
		return sum.Of(n.Labels[name])
	case itsHeaders:
		return sum.Of(n.hostHeaders())
	case itsNames:
		return truth(n.Names)
	case itsFamily:
		return truth(n.addr().Is6())
	case itsScope:
		if s := v.scope(); s != nil {
			return sum.Of(s)
		}
	case itsPlace:
		p := v.place()
		return sum.Of([]string{p.locality.Region, p.locality.Zone, p.locality.Subzone, p.node})
	}
	return 0
}

func (v *View) place() caller {
	if v.placed == nil {
		p := callerOf(v.snap, v.node)
		v.placed = &p
	}
	return *v.placed
}

func truth(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// labelText spells labels out as keys and values by turns, in the order of the keys.
func labelText(labels map[string]string) string {
	list := make([]string, 0, len(labels))
	for k, v := range labels {
		list = append(list, k+"\x00"+v)
	}
	slices.Sort(list)
	return strings.Join(list, "\x00")
}

func matchesText(text string, labels map[string]string) bool {
	for text != "" {
		var k, v string
		k, text, _ = strings.Cut(text, "\x00")
		v, text, _ = strings.Cut(text, "\x00")
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}
