package compile

import (
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// action compiles what a rule does, without its match. Operation holds the host
// and port only.
func (c *compiler) action(rule *mesh.HTTPRule, b boundSet, port uint16) ir.Route {
	out := ir.Route{
		Name:      rule.Name,
		Timeout:   rule.Timeout,
		Request:   headerOps(rule.Request),
		Response:  headerOps(rule.Response),
		Operation: b.set.Name + ":" + strconv.Itoa(int(port)),
		Origin:    rule.Origin,
	}
	switch {
	case rule.Invalid != "":
		return c.answers(out, 500, "invalid: "+rule.Invalid)
	case rule.Redirect != nil:
		out.Redirect = redirect(rule.Redirect, port)
		return out
	case rule.Direct != nil:
		out.Direct = &ir.Direct{Status: rule.Direct.Status, Body: rule.Direct.Body}
		return out
	}
	if reason := allInvalid(rule.Destinations); reason != "" {
		return c.answers(out, 500, "invalid: "+reason)
	}
	clusters, missing := c.destinations(rule.Destinations, port)
	if missing != nil {
		return c.previous(rule, b, port, out, missing)
	}
	return c.forward(rule, out, clusters, port)
}

// answers makes a route that answers by itself, because it cannot act.
func (c *compiler) answers(r ir.Route, status uint32, reason string) ir.Route {
	return ir.Route{Name: r.Name, Operation: r.Operation, Origin: r.Origin, Direct: &ir.Direct{Status: status}, Reason: reason}
}

// destinations resolves a rule's destinations; those of weight 0 take no part.
func (c *compiler) destinations(list []mesh.Destination, port uint16) ([]ir.WeightedCluster, *mesh.Missing) {
	var out []ir.WeightedCluster
	var first *mesh.Missing
	for i := range list {
		d := &list[i]
		if d.Weight == 0 {
			continue
		}
		if d.Invalid != "" {
			out = append(out, ir.WeightedCluster{Cluster: ir.Key{Direction: ir.Unusable}, Weight: d.Weight})
			continue
		}
		t, missing := c.snap.Resolve(d, c.client, port)
		if missing != nil {
			c.waits(d, missing)
			if first == nil {
				first = missing
			}
			continue
		}
		out = append(out, ir.WeightedCluster{Cluster: targetKey(&t), Weight: d.Weight, Request: headerOps(d.Request), Response: headerOps(d.Response)})
	}
	return out, first
}

// allInvalid says why none of a rule's destinations can be used; "" where one can.
func allInvalid(list []mesh.Destination) string {
	reason := ""
	for i := range list {
		switch d := &list[i]; {
		case d.Weight == 0:
		case d.Invalid == "":
			return ""
		case reason == "":
			reason = d.Invalid
		}
	}
	return reason
}

func (c *compiler) waits(d *mesh.Destination, missing *mesh.Missing) {
	c.say(d.Origin.At("destination"), verdict.Waiting, missing.By, "%s", missing.Message)
}

// previous keeps the last effective form of a rule that waits for a destination.
// A new rule of a sidecar that waits for the first subsets of the very host that it
// is for leaves that host's calls whole: so the objects of a canary may come in any
// order. Any other route answers 503.
func (c *compiler) previous(rule *mesh.HTTPRule, b boundSet, port uint16, out ir.Route, missing *mesh.Missing) ir.Route {
	if old, ok := c.snap.Remembered(rule.Key()); ok {
		said := len(c.statuses)
		clusters, gone := c.destinations(old.Destinations, port)
		c.statuses = c.statuses[:said] // the old form's verdicts are not about an object that exists
		if gone == nil {
			c.say(rule.Origin, verdict.Waiting, missing.By, "%s; the previous route stays in force until then", missing.Message)
			old.Origin = rule.Origin
			kept := c.forward(&old, ir.Route{
				Name: old.Name, Timeout: old.Timeout, Request: headerOps(old.Request), Response: headerOps(old.Response),
				Operation: b.set.Name + ":" + strconv.Itoa(int(port)), Origin: rule.Origin,
			}, clusters, port)
			kept.Reason = "waiting: " + missing.Message
			return kept
		}
	}
	if clusters := c.withoutSubsets(rule, b, port); clusters != nil {
		c.say(rule.Origin, verdict.Waiting, missing.By, "%s; requests go to the whole host until then", missing.Message)
		plain := c.forward(&mesh.HTTPRule{Origin: rule.Origin}, ir.Route{Name: rule.Name, Operation: out.Operation, Origin: rule.Origin}, clusters, port)
		plain.Reason = "waiting: " + missing.Message
		return plain
	}
	c.say(rule.Origin, verdict.Waiting, missing.By, "%s; requests get 503 until then", missing.Message)
	return c.answers(out, 503, "waiting: "+missing.Message)
}

// withoutSubsets gives the whole host that a sidecar's rule spreads over subsets
// where no DestinationRule has defined any yet; nil where the rule leads anywhere
// else.
func (c *compiler) withoutSubsets(rule *mesh.HTTPRule, b boundSet, port uint16) []ir.WeightedCluster {
	if b.gateway != mesh.MeshGateway {
		return nil // nothing was in force there before
	}
	var host string
	for i := range rule.Destinations {
		d := &rule.Destinations[i]
		if !slices.Contains(b.set.Hosts, d.Host) || host != "" && d.Host != host || d.Port != 0 && d.Port != port {
			return nil
		}
		host = d.Host
	}
	t, missing := c.snap.Resolve(&mesh.Destination{Host: host}, c.client, port)
	if missing != nil {
		return nil
	}
	if p := c.snap.Policy(c.client, t.Host); p != nil && len(p.Subsets) > 0 {
		return nil // the host has subsets, and this one is not among them: a mistake
	}
	return []ir.WeightedCluster{{Cluster: targetKey(&t), Weight: 100}}
}

// forward fills in everything around the destinations of a rule.
func (c *compiler) forward(rule *mesh.HTTPRule, out ir.Route, clusters []ir.WeightedCluster, port uint16) ir.Route {
	out.Clusters = clusters
	out.Unusable = slices.ContainsFunc(clusters, func(w ir.WeightedCluster) bool { return w.Cluster.Direction == ir.Unusable })
	if len(clusters) == 1 {
		// The changes of the only destination are the route's own, as in Istio.
		out.Request = join(out.Request, clusters[0].Request)
		out.Response = join(out.Response, clusters[0].Response)
		out.Clusters[0] = ir.WeightedCluster{Cluster: clusters[0].Cluster, Weight: 100}
		out.Operation = clusters[0].Cluster.Host + ":" + strconv.Itoa(int(clusters[0].Cluster.Port))
	}
	if rw := rule.Rewrite; rw != nil {
		out.Rewrite = &ir.Rewrite{Path: rw.Path, Regex: rw.Regex, Subst: rw.Subst, Host: rw.Authority}
	}
	out.Retry = c.retry(rule.Retries)
	out.Hash = c.hashKeys(clusters)
	if f := rule.Fault; f != nil && (f.Delay > 0 || f.AbortStatus > 0 || f.AbortGRPC != nil) {
		out.Fault = &ir.Fault{Delay: f.Delay, DelayPercent: f.DelayPercent, AbortStatus: f.AbortStatus, AbortGRPC: f.AbortGRPC, AbortPercent: f.AbortPercent}
	}
	out.CORS = cors(rule.CORS)
	for i := range rule.Mirrors {
		m := &rule.Mirrors[i]
		t, missing := c.snap.Resolve(&m.Destination, c.client, port)
		if missing != nil {
			c.waits(&m.Destination, missing)
			continue
		}
		out.Mirrors = append(out.Mirrors, ir.Mirror{Cluster: targetKey(&t), Percent: m.Percent})
	}
	return out
}

func cors(in *mesh.CORS) *ir.CORS {
	if in == nil {
		return nil
	}
	out := &ir.CORS{Methods: in.Methods, Headers: in.Headers, Expose: in.Expose, MaxAge: in.MaxAge, Credentials: in.Credentials, Ignore: in.Ignore}
	for i := range in.Origins {
		out.Origins = append(out.Origins, stringMatch(&in.Origins[i]))
	}
	return out
}

func targetKey(t *mesh.Target) ir.Key {
	return ir.Key{Direction: ir.OutboundTo, Port: t.Port.Number, Subset: t.Subset, Host: t.Host.Name}
}

func redirect(in *mesh.Redirect, port uint16) *ir.Redirect {
	out := &ir.Redirect{Status: in.Status, Scheme: in.Scheme, Host: in.Authority, Port: in.Port}
	if in.PrefixURI {
		out.Prefix = in.Path
	} else {
		out.Path = in.Path
	}
	if in.FromRequestPort {
		out.Port = uint32(port)
	}
	return out
}

// defaultRetry is the policy of routes that say nothing of retries: the mesh's, or
// Istio's.
func (c *compiler) defaultRetry() *ir.Retry {
	if r := c.snap.Settings().Retries; r != nil {
		return c.retry(r)
	}
	return c.istioRetry()
}

// istioRetry is Istio's policy for routes that say nothing of retries. Ours leaves
// the statuses of gRPC out: the application sent these itself, and nobody said that
// its calls may be made twice (docs/decisions/003).
func (c *compiler) istioRetry() *ir.Retry {
	on := "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes"
	if c.client.Native() {
		on = "connect-failure,refused-stream,retriable-status-codes"
	}
	return &ir.Retry{Attempts: 2, On: on, AvoidPrevious: true}
}

func (c *compiler) retry(in *mesh.Retries) *ir.Retry {
	switch {
	case in == nil:
		return c.defaultRetry()
	case in.Attempts == 0:
		return nil
	}
	out := c.istioRetry()
	out.Attempts, out.PerTryTimeout, out.Backoff, out.AvoidPrevious = in.Attempts, in.PerTryTimeout, in.Backoff, in.AvoidPrevious
	out.RemoteLocalities = in.RemoteLocalities
	if len(in.On)+len(in.Statuses) == 0 {
		return out
	}
	on := in.On
	const byStatus = "retriable-status-codes"
	if len(in.Statuses) > 0 && !slices.Contains(on, byStatus) {
		on = append(slices.Clone(on), byStatus)
	}
	out.On, out.Statuses = strings.Join(on, ","), in.Statuses
	return out
}

func headerOps(in mesh.HeaderOps) ir.HeaderOps {
	return ir.HeaderOps{Set: headers(in.Set), Add: headers(in.Add), Remove: in.Remove}
}

// join applies b's changes after a's.
func join(a, b ir.HeaderOps) ir.HeaderOps {
	return ir.HeaderOps{
		Set:    slices.Concat(a.Set, b.Set),
		Add:    slices.Concat(a.Add, b.Add),
		Remove: slices.Concat(a.Remove, b.Remove),
	}
}

func headers(in []mesh.Header) []ir.Header {
	var out []ir.Header
	for _, h := range in {
		out = append(out, ir.Header(h))
	}
	return out
}
