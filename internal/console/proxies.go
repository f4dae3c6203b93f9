package console

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/lateen-mesh/lateen/internal/push"
)

func (c *Console) proxies(*http.Request) (any, error) { return c.Plane.Proxies(), nil }

func (c *Console) proxy(r *http.Request) (any, error) {
	list := c.Plane.Proxies()
	i := slices.IndexFunc(list, func(p push.ProxyStatus) bool { return p.Name == r.PathValue("id") })
	if i < 0 {
		return nil, refuse(http.StatusNotFound, "no connected proxy is named %q", r.PathValue("id"))
	}
	return list[i], nil
}

// proxyConfig passes on what the control plane's own page says.
func (c *Console) proxyConfig(w http.ResponseWriter, r *http.Request) {
	rec := &recorded{header: http.Header{}}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "/debug/config_dump?"+url.Values{"proxyID": {r.PathValue("id")}}.Encode(), http.NoBody)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	c.Pages.ServeHTTP(rec, req)
	if rec.status != http.StatusOK {
		c.answer(func(*http.Request) (any, error) { return nil, refuse(rec.status, "%s", rec.body.String()) }).ServeHTTP(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(rec.body.Bytes()) // the client's departure is its own affair
}
