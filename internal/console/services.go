package console

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// portView is one port of a service.
type portView struct {
	Name     string `json:"name,omitempty"`
	Number   uint16 `json:"number"`
	Protocol string `json:"protocol"`
}

// serviceSummary is a line of the list of services.
type serviceSummary struct {
	Namespace string     `json:"namespace"`
	Name      string     `json:"name"`
	Host      string     `json:"host"`
	External  bool       `json:"external"`
	Address   string     `json:"address,omitempty"`
	Ports     []portView `json:"ports"`
	Endpoints int        `json:"endpoints"`
	Ready     int        `json:"ready"`
	Health    Health     `json:"health"`
	Inbound   *Rates     `json:"inbound,omitempty"`
}

// hosts lists the mesh's services.
func (c *Console) hosts() []*mesh.Host {
	if s := c.Plane.Snapshot(); s != nil {
		return s.AllHosts()
	}
	return nil
}

// serving tells which services "NS/NAME" each workload "NS/NAME" stands behind.
func (c *Console) serving() map[string][]string {
	out := map[string][]string{}
	s := c.Plane.Snapshot()
	for _, h := range c.hosts() {
		seen := map[string]bool{}
		for _, w := range s.Workloads().Members(h.Service) {
			if key := w.Namespace + "/" + owner(w); !seen[key] {
				seen[key] = true
				out[key] = append(out[key], h.Service.Key())
			}
		}
	}
	return out
}

// called adds up the traffic that services get, by "NS/NAME": as their clients count
// it, and as the services' own proxies do where no client has one.
func (c *Console) called(w window) (map[string]*Rates, error) {
	flows, covered, err := c.flows(w)
	if err != nil {
		return nil, err
	}
	pairs := map[string]map[string]*pair{} // by service, and by source
	for i := range flows {
		f := &flows[i]
		namespace, name, ok := f.ofMesh()
		if !ok {
			continue
		}
		key, from := namespace+"/"+name, f.source.namespace+"/"+f.source.workload
		if pairs[key] == nil {
			pairs[key] = map[string]*pair{}
		}
		if pairs[key][from] == nil {
			pairs[key][from] = &pair{}
		}
		if f.fromSource {
			pairs[key][from].source.add(f)
		} else {
			pairs[key][from].target.add(f)
		}
	}
	out := map[string]*Rates{}
	for key, sources := range pairs {
		var sum tally
		for _, p := range sources {
			t, _ := p.chosen()
			sum.merge(t)
		}
		out[key] = sum.rates(covered)
	}
	return out, nil
}

func (c *Console) summaryOf(h *mesh.Host, traffic map[string]*Rates) serviceSummary {
	svc := h.Service
	s := serviceSummary{
		Namespace: svc.Namespace, Name: svc.Name, Host: h.Name, External: svc.Origin.Kind == "ServiceEntry",
		Ports: []portView{}, Inbound: traffic[svc.Key()],
	}
	if h.Addr.IsValid() {
		s.Address = h.Addr.String()
	}
	for _, p := range h.Ports {
		s.Ports = append(s.Ports, portView{p.Name, p.Number, string(p.Protocol)})
	}
	for _, w := range c.Plane.Snapshot().Workloads().Members(svc) {
		s.Endpoints++
		if w.Ready {
			s.Ready++
		}
	}
	s.Health = healthOf(s.Inbound, s.Ready, s.Endpoints)
	return s
}

func (c *Console) services(r *http.Request) (any, error) {
	w, err := c.window(r)
	if err != nil {
		return nil, err
	}
	traffic, err := c.called(w)
	if err != nil {
		return nil, err
	}
	in, out := namespaces(r), []serviceSummary{}
	for _, h := range c.hosts() {
		if in == nil || in[h.Service.Namespace] {
			out = append(out, c.summaryOf(h, traffic))
		}
	}
	slices.SortFunc(out, func(a, b serviceSummary) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return out, nil
}

// serviceView is one service.
type serviceView struct {
	serviceSummary
	Instances []instance  `json:"instances"`
	Edges     []Edge      `json:"edges"`
	Charts    []Chart     `json:"charts"`
	Objects   []objectRef `json:"objects"`
}

func (c *Console) service(r *http.Request) (any, error) {
	w, err := c.window(r)
	if err != nil {
		return nil, err
	}
	namespace, name := r.PathValue("namespace"), r.PathValue("name")
	list := c.hosts()
	i := slices.IndexFunc(list, func(h *mesh.Host) bool { return h.Service.Namespace == namespace && h.Service.Name == name })
	if i < 0 {
		return nil, refuse(http.StatusNotFound, "no service is named %q in the namespace %q", name, namespace)
	}
	traffic, err := c.called(w)
	if err != nil {
		return nil, err
	}
	v := serviceView{serviceSummary: c.summaryOf(list[i], traffic), Instances: []instance{}}
	proxies := c.proxiesByName()
	for _, x := range c.Plane.Snapshot().Workloads().Members(list[i].Service) {
		v.Instances = append(v.Instances, instanceOf(x, proxies))
	}
	of := func(f *flow) bool { return f.serviceNamespace == namespace && f.service == name }
	g, err := c.draw(viewWorkload, w, of)
	if err != nil {
		return nil, err
	}
	v.Edges = g.Edges
	v.Charts = c.charts(w, of, nil)
	v.Objects, err = c.concerning(r, namespace, []string{name, list[i].Name})
	return v, err
}

// objectRef names an object.
type objectRef struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Verdict   string `json:"verdict,omitempty"`
}

// concerning lists the objects of a namespace that one of the names stands in: as a
// host, a selector's value, or their own name.
func (c *Console) concerning(r *http.Request, namespace string, names []string) ([]objectRef, error) {
	var statuses configapi.StatusList
	if err := c.config.call(r, http.MethodGet, "/v1/status", url.Values{"namespace": {namespace}}, http.NoBody, &statuses); err != nil {
		return nil, err
	}
	var objects configapi.ObjectList
	if err := c.config.call(r, http.MethodGet, "/v1/objects", url.Values{"namespace": {namespace}}, http.NoBody, &objects); err != nil {
		return nil, err
	}
	mentions := map[string]bool{}
	for _, raw := range objects.Items {
		var o struct {
			Kind     string
			Metadata struct{ Namespace, Name string }
		}
		if err := jsonInto(raw, &o); err != nil {
			return nil, err
		}
		for _, n := range names {
			n = n[strings.LastIndexByte(n, '/')+1:]
			if strings.Contains(string(raw), `"`+n+`"`) || strings.Contains(string(raw), `"`+n+".") {
				mentions[o.Kind+"/"+o.Metadata.Namespace+"/"+o.Metadata.Name] = true
			}
		}
	}
	out := []objectRef{}
	for _, s := range statuses.Objects {
		if k := api.KindNamed(s.Kind); k != nil && strings.Contains(k.Group, ".") && k.Acts && mentions[s.Kind+"/"+s.Namespace+"/"+s.Name] {
			out = append(out, objectRef{s.Kind, s.Namespace, s.Name, string(s.Verdict)})
		}
	}
	return out, nil
}

// namespaceView is a line of the list of namespaces.
type namespaceView struct {
	Name      string `json:"name"`
	Services  int    `json:"services"`
	Workloads int    `json:"workloads"`
	Objects   int    `json:"objects"`
	Problems  int    `json:"problems"`
	Health    Health `json:"health"`
}

// gravest orders health, the worst last.
var gravest = []Health{Unknown, Idle, Healthy, Degraded, Failing}

func (c *Console) namespaces(r *http.Request) (any, error) {
	w, err := c.window(r)
	if err != nil {
		return nil, err
	}
	byName := map[string]*namespaceView{}
	at := func(name string) *namespaceView {
		if byName[name] == nil {
			byName[name] = &namespaceView{Name: name, Health: Unknown}
		}
		return byName[name]
	}
	list, err := c.summaries(w)
	if err != nil {
		return nil, err
	}
	for _, s := range list {
		n := at(s.Namespace)
		n.Workloads++
		if slices.Index(gravest, s.Health) > slices.Index(gravest, n.Health) {
			n.Health = s.Health
		}
	}
	for _, h := range c.hosts() {
		at(h.Service.Namespace).Services++
	}
	var statuses configapi.StatusList
	if err := c.config.call(r, http.MethodGet, "/v1/status", url.Values{}, http.NoBody, &statuses); err != nil {
		return nil, err
	}
	for _, s := range statuses.Objects {
		if s.Namespace == "" {
			continue
		}
		n := at(s.Namespace)
		n.Objects++
		if s.Verdict.Problem() {
			n.Problems++
		}
	}
	out := []namespaceView{}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, *byName[name])
	}
	return out, nil
}
