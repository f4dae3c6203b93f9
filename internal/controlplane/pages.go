package controlplane

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
)

// clientsView is /debug/adsz: who is connected and what it was sent.
type clientsView struct {
	Total   int `json:"totalClients"`
	Clients any `json:"clients"`
}

// connectionView is one line of /debug/connections.
type connectionView struct {
	Proxy     string    `json:"proxy"`
	Node      string    `json:"connectionId"`
	Connected time.Time `json:"connectedAt"`
	Identity  string    `json:"identity,omitempty"`
}

func (c *Core) adsz(w http.ResponseWriter, _ *http.Request) {
	list := c.Proxies()
	writeJSON(w, http.StatusOK, clientsView{len(list), list})
}

func (c *Core) connections(w http.ResponseWriter, _ *http.Request) {
	out := []connectionView{}
	for _, p := range c.Proxies() {
		out = append(out, connectionView{p.Name, p.Node, p.Since, p.Identity})
	}
	writeJSON(w, http.StatusOK, clientsView{len(out), out})
}

// registryView is one service in /debug/registryz.
type registryView struct {
	Name      string     `json:"hostname"`
	Service   string     `json:"name"`
	Namespace string     `json:"namespace"`
	Address   string     `json:"address,omitempty"`
	Ports     []portView `json:"ports"`
	ExportTo  []string   `json:"exportTo,omitempty"`
}

type portView struct {
	Name     string `json:"name,omitempty"`
	Number   uint16 `json:"port"`
	Protocol string `json:"protocol"`
}

func (c *Core) registryz(w http.ResponseWriter, _ *http.Request) {
	snap := c.Snapshot()
	if snap == nil {
		http.Error(w, "nothing is compiled yet", http.StatusServiceUnavailable)
		return
	}
	out := []registryView{}
	for _, h := range snap.AllHosts() {
		v := registryView{Name: h.Name, Service: h.Service.Name, Namespace: h.Service.Namespace, Ports: []portView{}, ExportTo: h.Service.ExportTo}
		if h.Addr.IsValid() {
			v.Address = h.Addr.String()
		}
		for _, p := range h.Ports {
			v.Ports = append(v.Ports, portView{p.Name, p.Number, string(p.Protocol)})
		}
		out = append(out, v)
	}
	writeJSON(w, http.StatusOK, out)
}

// configz shows the configuration objects as they were read, Secrets' contents
// aside.
func (c *Core) configz(w http.ResponseWriter, _ *http.Request) {
	objects, _ := c.objects.Snapshot()
	out := []json.RawMessage{}
	for _, o := range objects {
		if o.Kind.Name == api.KindSecret {
			continue
		}
		text, err := api.EncodeJSON(o)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		out = append(out, text)
	}
	writeJSON(w, http.StatusOK, out)
}

// pushStatus shows the newest build, and the verdicts that are no praise.
func (c *Core) pushStatus(w http.ResponseWriter, _ *http.Request) {
	b, ok := c.engine.Build()
	if !ok {
		http.Error(w, "nothing is compiled yet", http.StatusServiceUnavailable)
		return
	}
	counts := map[string]int{}
	list, _ := c.Statuses()
	for _, s := range list {
		counts[string(s.Code)]++
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"generation": b.Generation, "revision": b.Revision, "time": b.At, "proxies": len(c.Proxies()), "verdicts": counts,
	})
}
