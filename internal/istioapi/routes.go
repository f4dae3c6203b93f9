package istioapi

import (
	"cmp"
	"math"
	"strconv"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

func (r *reader) virtualService(o *api.Object, meta mesh.Meta, vs *networking.VirtualService) {
	ns := o.Meta.Namespace
	set := mesh.RouteSet{Meta: meta, Namespace: ns, Name: o.Meta.Name, ExportTo: vs.ExportTo}
	spec := meta.Origin.At("spec")
	if len(vs.Hosts) == 0 {
		r.delegate(&set, vs)
		return
	}
	set.Hosts = r.hosts(spec.At("hosts"), vs.Hosts, ns)
	set.Gateways = gatewayNames(vs.Gateways, ns)
	if len(set.Gateways) == 0 {
		set.Gateways = []string{mesh.MeshGateway}
	}
	c := &ruleReader{reader: r, namespace: ns}
	for i, in := range vs.Http {
		set.HTTP = append(set.HTTP, c.httpRule(spec.At(index("http", i)), in))
	}
	c = &ruleReader{reader: r, namespace: ns, relays: true}
	for i, in := range vs.Tls {
		set.TLS = append(set.TLS, c.tlsRule(spec.At(index("tls", i)), &set, in))
	}
	for i, in := range vs.Tcp {
		set.TCP = append(set.TCP, c.tcpRule(spec.At(index("tcp", i)), in))
	}
	r.cfg.Routes = append(r.cfg.Routes, set)
}

// delegate reads a VirtualService without hosts: others delegate to its HTTP rules.
func (r *reader) delegate(set *mesh.RouteSet, vs *networking.VirtualService) {
	spec := set.Origin.At("spec")
	for _, f := range []struct {
		name string
		n    int
	}{{"gateways", len(vs.Gateways)}, {"tls", len(vs.Tls)}, {"tcp", len(vs.Tcp)}} {
		if f.n > 0 {
			r.say(spec.At(f.name), verdict.Invalid, "a VirtualService without hosts is for others to delegate to: only its http rules act")
		}
	}
	c := &ruleReader{reader: r, namespace: set.Namespace}
	for i, in := range vs.Http {
		rule := c.httpRule(spec.At(index("http", i)), in)
		if rule.Delegate != nil {
			c.invalid(&rule.Invalid, rule.Origin.At("delegate"), verdict.Invalid, "a VirtualService that is delegated to cannot delegate further")
		}
		set.HTTP = append(set.HTTP, rule)
	}
	r.cfg.Routes = append(r.cfg.Routes, *set)
}

// ruleReader reads the rules of one VirtualService.
type ruleReader struct {
	*reader
	namespace string
	relays    bool // the rule at hand is for connections
}

// invalid records why a rule cannot act. The first reason stays: it is what the
// rule answers.
func (c *ruleReader) invalid(reason *string, at verdict.Origin, code verdict.Code, msg string) {
	effect := "the route answers 500"
	if c.relays {
		effect = "the rule's connections are closed"
	}
	c.say(at, code, "%s; %s", msg, effect)
	if *reason == "" {
		*reason = at.Path + ": " + msg
	}
}

func (c *ruleReader) httpRule(at verdict.Origin, in *networking.HTTPRoute) mesh.HTTPRule {
	out := mesh.HTTPRule{Origin: at, Name: in.Name, Timeout: in.Timeout.AsDuration(), TimeoutSet: in.Timeout != nil}
	for i, m := range in.Match {
		out.Matches = append(out.Matches, c.httpMatch(at.At(index("match", i)), m))
	}
	c.actions(&out, in)
	if in.Headers != nil {
		out.Request = headerOps(in.Headers.Request)
		out.Response = headerOps(in.Headers.Response)
	}
	out.Rewrite = c.rewrite(&out.Invalid, at.At("rewrite"), in.Rewrite)
	c.hostHeader(&out)
	out.Retries = c.retries(&out.Invalid, at.At("retries"), in.Retries)
	out.Fault = c.fault(&out.Invalid, at.At("fault"), in.Fault)
	out.Mirrors = c.mirrors(&out.Invalid, at, in)
	out.CORS = c.cors(&out.Invalid, at.At("corsPolicy"), in)
	c.wireRule(&out)
	if in.Timeout.AsDuration() < 0 {
		c.invalid(&out.Invalid, at.At("timeout"), verdict.Invalid, "the time-out is negative")
	}
	return out
}

// actions reads what happens to a matching request; exactly one action is needed.
func (c *ruleReader) actions(out *mesh.HTTPRule, in *networking.HTTPRoute) {
	at, n := out.Origin, 0
	if in.Delegate != nil {
		n++
		out.Delegate = &mesh.Delegate{Namespace: cmp.Or(in.Delegate.Namespace, c.namespace), Name: in.Delegate.Name}
	}
	if in.Redirect != nil {
		n++
		out.Redirect = c.redirect(&out.Invalid, at.At("redirect"), in.Redirect)
	}
	if in.DirectResponse != nil {
		n++
		out.Direct = c.direct(&out.Invalid, at.At("directResponse"), in.DirectResponse)
	}
	if len(in.Route) > 0 {
		n++
		out.Destinations = c.destinations(&out.Invalid, at, in.Route)
	}
	switch {
	case n == 0:
		c.invalid(&out.Invalid, at, verdict.Invalid, "the rule needs one of route, redirect, directResponse and delegate")
	case n > 1:
		c.invalid(&out.Invalid, at, verdict.Invalid, "the rule has more than one of route, redirect, directResponse and delegate")
	}
}

func (c *ruleReader) destinations(reason *string, at verdict.Origin, list []*networking.HTTPRouteDestination) []mesh.Destination {
	var out []mesh.Destination
	weights := make([]int32, len(list))
	for i, in := range list {
		d := c.destination(reason, at.At(index("route", i)), in.Destination)
		weights[i] = in.Weight
		if in.Headers != nil {
			d.Request, d.Response = headerOps(in.Headers.Request), headerOps(in.Headers.Response)
		}
		out = append(out, d)
	}
	c.weigh(reason, at, weights, out)
	return out
}

// weigh sets the destinations' weights: one destination takes everything, several
// need a positive sum. Destinations of weight 0 stay in the model, so that what
// they name is still checked; the compiler leaves them out.
func (c *ruleReader) weigh(reason *string, at verdict.Origin, weights []int32, out []mesh.Destination) {
	if len(out) == 1 && weights[0] == 0 {
		out[0].Weight = 100
		return
	}
	var sum int64
	for i, w := range weights {
		if w < 0 {
			c.invalid(reason, at.At(index("route", i)).At("weight"), verdict.Invalid, "the weight is negative")
			return
		}
		sum += int64(w)
		out[i].Weight = uint32(w)
	}
	if sum == 0 || sum > math.MaxUint32 {
		c.invalid(reason, at.At("route"), verdict.Invalid, "the weights add up to "+strconv.FormatInt(sum, 10))
	}
}

func (c *ruleReader) destination(reason *string, at verdict.Origin, in *networking.Destination) mesh.Destination {
	out := mesh.Destination{Origin: at}
	if in.GetHost() == "" {
		c.invalid(reason, at.At("destination"), verdict.Invalid, "the destination names no host")
		return out
	}
	out.Host = qualify(in.Host, c.namespace)
	out.Subset = in.Subset
	if p := in.GetPort().GetNumber(); p > 65535 {
		c.invalid(reason, at.At("destination.port.number"), verdict.Invalid, "the port "+strconv.Itoa(int(p))+" is out of range")
	} else {
		out.Port = uint16(p)
	}
	return out
}

func index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }
