package explain

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/balance"
	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// clusters makes the destinations and the last step.
func (w *work) clusters(list []config.WeightedCluster, total uint32) {
	w.rec.list = nil // every cluster is told, chosen or not
	var parts []string
	broken := 0
	for i := range list {
		c := &list[i]
		d := w.destination(c.Cluster.Name)
		if d.Percent = 100; len(list) > 1 && total > 0 {
			d.Percent = 100 * float64(c.Weight) / float64(total)
		}
		if d.Problem != "" {
			broken++
		}
		parts = append(parts, number(d.Percent)+" % to "+d.Cluster)
		w.out.Destinations = append(w.out.Destinations, d)
	}
	w.out.Answer = "The request goes on: " + strings.Join(parts, ", ") + "."
	if broken == len(list) {
		w.fail("%s", w.out.Destinations[0].Problem)
	}
}

// destination describes a cluster and its endpoints.
func (w *work) destination(name string) Destination {
	d := Destination{Cluster: name}
	c := w.res.clusters[name]
	if c == nil {
		d.Problem = fmt.Sprintf("status 503: cluster %q does not exist", name)
		return d
	}
	d.Origin = origin(c.Metadata.Config)
	d.Policy = policies[c.Policy]
	if c.Type == config.ClusterOriginalDst {
		to := w.req.Dest
		if c.SourceAddr.IsValid() {
			d.Policy += ", from source address " + c.SourceAddr.String()
		}
		d.Endpoints = []Endpoint{{Address: to.String(), Weight: 1, Transport: transport(c, nil), State: "takes requests"}}
		return d
	}
	w.endpoints(c, &d)
	return d
}

// policies name the balancing policies.
var policies = map[config.Policy]string{
	config.RoundRobin: "round robin", config.LeastRequest: "least request", config.Random: "random",
	config.RingHash: "ring hash", config.Maglev: "Maglev", config.OriginalDst: "original destination",
}

func (w *work) endpoints(c *config.Cluster, d *Destination) {
	es := c.Static
	if c.Type == config.ClusterEDS {
		es = w.res.endpoints[c.EDSName]
	}
	for _, h := range c.DNS {
		d.Endpoints = append(d.Endpoints, Endpoint{
			Address: h.Host + ":" + strconv.Itoa(int(h.Port)), Weight: h.Template.Weight, Priority: h.Priority,
			Transport: transport(c, &h.Template), State: "takes requests at the addresses of its name",
		})
	}
	var hosts []balance.Host
	if es != nil {
		for _, l := range es.Localities {
			for _, e := range l.Endpoints {
				hosts = append(hosts, balance.Host{Endpoint: e, Priority: l.Priority})
			}
		}
	}
	if len(hosts) == 0 {
		if len(d.Endpoints) == 0 {
			d.Problem = fmt.Sprintf("status 503: cluster %q has no endpoints", c.Name)
		}
		return
	}
	overprovisioning := es.Overprovisioning
	p, err := balance.New(c, hosts, overprovisioning)
	if err != nil {
		d.Problem = err.Error()
		return
	}
	states := map[*config.Endpoint]string{}
	for _, s := range p.Shares() {
		for _, h := range s.Hosts {
			states[h.Endpoint] = "takes requests"
			if s.Panic {
				states[h.Endpoint] = "takes requests in panic: too few endpoints are healthy"
			}
		}
	}
	for i := range hosts {
		d.Endpoints = append(d.Endpoints, endpoint(c, &hosts[i], states[hosts[i].Endpoint]))
	}
	if len(states) == 0 {
		d.Problem = fmt.Sprintf("status 503: no endpoint of cluster %q is healthy", c.Name)
	}
}

func endpoint(c *config.Cluster, h *balance.Host, state string) Endpoint {
	if state == "" {
		state = "waits: endpoints of a better priority take the requests"
		switch h.Health {
		case config.Unhealthy:
			state = "is unhealthy"
		case config.Draining:
			state = "is draining"
		case config.Degraded:
			state = "waits: it is degraded"
		}
	}
	return Endpoint{
		Address: h.Addr.String(), Workload: workload(h.Workload), Weight: h.Weight, Priority: h.Priority,
		Transport: transport(c, h.Endpoint), State: state,
	}
}

// transport says what is spoken to an endpoint: the first transport socket whose
// match the endpoint's metadata fulfils, else the cluster's.
func transport(c *config.Cluster, e *config.Endpoint) string {
	t := c.TLS
	for _, m := range c.TLSMatches {
		if fulfils(e, m.Match) {
			t = m.TLS
			break
		}
	}
	switch {
	case t == nil:
		return "plain text"
	case len(t.Common.Certificates) > 0:
		return "mTLS"
	}
	return "TLS"
}

func fulfils(e *config.Endpoint, match map[string]string) bool {
	for k, v := range match {
		if e == nil || e.SocketMatch[k] != v {
			return false
		}
	}
	return true
}

// workload reads istio.workload metadata, "NAME;NAMESPACE;…".
func workload(text string) string {
	parts := strings.Split(text, ";")
	if len(parts) < 2 || parts[0] == "" {
		return ""
	}
	return parts[0] + " in " + parts[1]
}
