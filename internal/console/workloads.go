package console

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// group are the instances of one workload.
type group struct {
	namespace, name string
	instances       []*registry.Workload
}

// Labels of Istio that say what a workload is.
const (
	canonicalName     = "service.istio.io/canonical-name"
	canonicalRevision = "service.istio.io/canonical-revision"
)

// end names the workload as the metrics do.
func (g *group) end() end {
	l := g.instances[0].Labels
	return end{
		namespace: g.namespace, workload: g.name,
		app:     cmp.Or(l[canonicalName], l["app.kubernetes.io/name"], l["app"], g.name),
		version: cmp.Or(l[canonicalRevision], l["app.kubernetes.io/version"], l["version"], "latest"),
	}
}

func owner(w *registry.Workload) string { return cmp.Or(w.Owner, w.Name) }

// workloadGroups lists the workloads by namespace and name.
func (c *Console) workloadGroups() []*group {
	s := c.Plane.Snapshot()
	if s == nil {
		return nil
	}
	byKey := map[string]*group{}
	for ns := range s.Workloads().Namespaces() {
		for _, w := range s.Workloads().Namespace(ns) {
			key := ns + "/" + owner(w)
			if byKey[key] == nil {
				byKey[key] = &group{namespace: ns, name: owner(w)}
			}
			byKey[key].instances = append(byKey[key].instances, w)
		}
	}
	var out []*group
	for _, key := range slices.Sorted(maps.Keys(byKey)) {
		out = append(out, byKey[key])
	}
	return out
}

// gatewayWorkloads are the workloads "NS/NAME" that stand at the mesh's edge, as their
// proxies say.
func (c *Console) gatewayWorkloads() map[string]bool {
	instances := map[string]bool{}
	for _, p := range c.Plane.Proxies() {
		if strings.HasPrefix(p.Node, "router~") {
			instances[p.Name] = true
		}
	}
	out := map[string]bool{}
	for _, g := range c.workloadGroups() {
		for _, w := range g.instances {
			if instances[w.Name+"."+w.Namespace] {
				out[g.namespace+"/"+g.name] = true
			}
		}
	}
	return out
}

// instance is one pod.
type instance struct {
	Name           string `json:"name"`
	Namespace      string `json:"namespace"`
	Workload       string `json:"workload,omitempty"`
	Address        string `json:"address"`
	Port           uint16 `json:"port,omitempty"`
	Ready          bool   `json:"ready"`
	Version        string `json:"version,omitempty"`
	Zone           string `json:"zone,omitempty"`
	Region         string `json:"region,omitempty"`
	ServiceAccount string `json:"serviceAccount,omitempty"`
	Proxy          string `json:"proxy,omitempty"`
}

func instanceOf(w *registry.Workload, proxies map[string]*push.ProxyStatus) instance {
	i := instance{
		Name: w.Name, Namespace: w.Namespace, Workload: owner(w), Address: w.Addr.String(), Ready: w.Ready,
		Version: cmp.Or(w.Labels[canonicalRevision], w.Labels["version"]), Zone: w.Locality.Zone, Region: w.Locality.Region, ServiceAccount: w.ServiceAccount,
	}
	if name := w.Name + "." + w.Namespace; proxies[name] != nil {
		i.Proxy = name
	}
	return i
}

// workloadSummary is a line of the list of workloads.
type workloadSummary struct {
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	App       string   `json:"app,omitempty"`
	Version   string   `json:"version,omitempty"`
	Gateway   bool     `json:"gateway"`
	Services  []string `json:"services"`
	Instances int      `json:"instances"`
	Ready     int      `json:"ready"`
	Proxies   int      `json:"proxies"`
	Synced    int      `json:"synced"`
	Health    Health   `json:"health"`
	Inbound   *Rates   `json:"inbound,omitempty"`
	Outbound  *Rates   `json:"outbound,omitempty"`
}

func (c *Console) proxiesByName() map[string]*push.ProxyStatus {
	out := map[string]*push.ProxyStatus{}
	for _, p := range c.Plane.Proxies() {
		out[p.Name] = &p
	}
	return out
}

// summaries sums up all workloads.
func (c *Console) summaries(w window) ([]workloadSummary, error) {
	g, err := c.draw(viewWorkload, w, nil)
	if err != nil {
		return nil, err
	}
	nodes := map[string]*Node{}
	for i := range g.Nodes {
		nodes[g.Nodes[i].ID] = &g.Nodes[i]
	}
	gateways, proxies, serving := c.gatewayWorkloads(), c.proxiesByName(), c.serving()
	out := []workloadSummary{}
	for _, x := range c.workloadGroups() {
		e, key := x.end(), x.namespace+"/"+x.name
		s := workloadSummary{Namespace: x.namespace, Name: x.name, App: e.app, Version: e.version, Gateway: gateways[key], Instances: len(x.instances), Services: []string{}}
		s.Services = append(s.Services, serving[key]...)
		for _, i := range x.instances {
			if i.Ready {
				s.Ready++
			}
			if p := proxies[i.Name+"."+i.Namespace]; p != nil {
				s.Proxies++
				if inForce(p) {
					s.Synced++
				}
			}
		}
		if n := nodes[workloadNode(e, s.Gateway).ID]; n != nil {
			s.Inbound, s.Outbound = n.Inbound, n.Outbound
		}
		traffic := s.Inbound
		if traffic == nil {
			traffic = s.Outbound
		}
		s.Health = healthOf(traffic, s.Ready, s.Instances)
		out = append(out, s)
	}
	return out, nil
}

func (c *Console) workloads(r *http.Request) (any, error) {
	w, err := c.window(r)
	if err != nil {
		return nil, err
	}
	list, err := c.summaries(w)
	if in := namespaces(r); in != nil {
		list = slices.DeleteFunc(list, func(s workloadSummary) bool { return !in[s.Namespace] })
	}
	return list, err
}

// workloadView is one workload.
type workloadView struct {
	workloadSummary
	ServiceAccount string             `json:"serviceAccount,omitempty"`
	Identity       string             `json:"identity,omitempty"`
	Labels         map[string]string  `json:"labels,omitempty"`
	Pods           []instance         `json:"pods"`
	Edges          []Edge             `json:"edges"`
	Charts         []Chart            `json:"charts"`
	Objects        []objectRef        `json:"objects"`
	ProxyStates    []push.ProxyStatus `json:"proxyStates"`
}

func (c *Console) workload(r *http.Request) (any, error) {
	w, err := c.window(r)
	if err != nil {
		return nil, err
	}
	namespace, name := r.PathValue("namespace"), r.PathValue("name")
	list, err := c.summaries(w)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(s workloadSummary) bool { return s.Namespace == namespace && s.Name == name })
	groups := c.workloadGroups()
	j := slices.IndexFunc(groups, func(g *group) bool { return g.namespace == namespace && g.name == name })
	if i < 0 || j < 0 {
		return nil, refuse(http.StatusNotFound, "no workload is named %q in the namespace %q", name, namespace)
	}
	first := groups[j].instances[0]
	v := workloadView{workloadSummary: list[i], ServiceAccount: first.ServiceAccount, Labels: first.Labels, Pods: []instance{}, ProxyStates: []push.ProxyStatus{}}
	if s := c.Plane.Snapshot(); s != nil {
		v.Identity = s.SPIFFE(namespace, cmp.Or(first.ServiceAccount, "default"))
	}
	proxies := c.proxiesByName()
	for _, x := range groups[j].instances {
		p := instanceOf(x, proxies)
		v.Pods = append(v.Pods, p)
		if p.Proxy != "" {
			v.ProxyStates = append(v.ProxyStates, *proxies[p.Proxy])
		}
	}
	isEnd := func(e end) bool { return e.namespace == namespace && e.workload == name }
	g, err := c.draw(viewWorkload, w, func(f *flow) bool { return isEnd(f.source) || isEnd(f.target) })
	if err != nil {
		return nil, err
	}
	v.Edges = g.Edges
	v.Charts = c.charts(w, func(f *flow) bool { return isEnd(f.target) }, func(f *flow) bool { return isEnd(f.source) })
	v.Objects, err = c.concerning(r, namespace, append([]string{name}, v.Services...))
	return v, err
}

// gatewayView is one gateway.
type gatewayView struct {
	workloadSummary
	Servers []gatewayServer `json:"servers"`
	Edges   []Edge          `json:"edges"`
}

type gatewayServer struct {
	Object     objectRef `json:"object"`
	Port       uint16    `json:"port"`
	Protocol   string    `json:"protocol"`
	Hosts      []string  `json:"hosts"`
	Credential string    `json:"credential,omitempty"`
}

func (c *Console) gateways(r *http.Request) (any, error) {
	w, err := c.window(r)
	if err != nil {
		return nil, err
	}
	list, err := c.summaries(w)
	if err != nil {
		return nil, err
	}
	g, err := c.draw(viewWorkload, w, nil)
	if err != nil {
		return nil, err
	}
	labels := map[string]map[string]string{}
	for _, x := range c.workloadGroups() {
		labels[x.namespace+"/"+x.name] = x.instances[0].Labels
	}
	out := []gatewayView{}
	for _, s := range list {
		if !s.Gateway {
			continue
		}
		id := "gateway/" + s.Namespace + "/" + s.Name
		v := gatewayView{workloadSummary: s, Servers: c.serversOf(s.Namespace, labels[s.Namespace+"/"+s.Name]), Edges: []Edge{}}
		for _, e := range g.Edges {
			if e.Source == id || e.Target == id {
				v.Edges = append(v.Edges, e)
			}
		}
		out = append(out, v)
	}
	return out, nil
}

func (c *Console) serversOf(namespace string, labels map[string]string) []gatewayServer {
	out := []gatewayServer{}
	s := c.Plane.Snapshot()
	if s == nil {
		return out
	}
	for _, g := range s.Gateways(namespace, labels) {
		for _, srv := range g.Servers {
			x := gatewayServer{
				Object: objectRef{Kind: g.Origin.Kind, Namespace: g.Origin.Namespace, Name: g.Origin.Name},
				Port:   srv.Port, Protocol: string(srv.Protocol), Hosts: []string{},
			}
			if srv.TLS != nil && len(srv.TLS.Credentials) > 0 {
				x.Credential = srv.TLS.Credentials[0]
			}
			for _, h := range srv.Hosts {
				x.Hosts = append(x.Hosts, h.Host)
			}
			out = append(out, x)
		}
	}
	return out
}
