package console

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/explain"
	"github.com/lateen-mesh/lateen/internal/push"
)

// explainRequest is the body of POST /api/explain.
type explainRequest struct {
	From    string            `json:"from"`
	URL     string            `json:"url"`
	Method  string            `json:"method"`
	Headers map[string]string `json:"headers"`
	Dest    string            `json:"dest"`
	Inbound bool              `json:"inbound"`
	TLS     bool              `json:"tls"`
	TCP     bool              `json:"tcp"`
	With    string            `json:"with"`
}

type explanation struct {
	Text        string               `json:"text"`
	Explanation *explain.Explanation `json:"explanation"`
}

// explain tells where a request would go: with the objects in force, or with further
// ones, which are not applied.
func (c *Console) explain(r *http.Request) (any, error) {
	var body explainRequest
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		return nil, refuse(http.StatusBadRequest, "the body: %v", err)
	}
	to, err := explain.ParseTarget(body.URL)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "url: %v", err)
	}
	with, err := api.Decode(strings.NewReader(body.With), "with")
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	preview, err := c.Plane.Preview(body.From, with)
	switch {
	case errors.Is(err, push.ErrUnknownProxy):
		return nil, refuse(http.StatusNotFound, "%v", err)
	case err != nil:
		return nil, err
	}
	dest, err := c.destination(&body, to, preview.Node)
	if err != nil {
		return nil, refuse(http.StatusBadRequest, "%v", err)
	}
	set := explain.NewResources(preview.Node.Kind == compile.Router)
	for _, x := range preview.Resources {
		if err := set.Add(x.TypeURL, x.Body); err != nil {
			return nil, refuse(http.StatusBadRequest, "the proxy would refuse %s: %v", x.Name, err)
		}
	}
	e := explain.Explain(set, body.request(to, dest))
	return explanation{Text: e.Text(), Explanation: e}, nil
}

func (b *explainRequest) request(to explain.Target, dest netip.AddrPort) explain.Request {
	q := explain.Request{Method: b.Method, Authority: to.Authority, Path: to.Path, Dest: dest, Inbound: b.Inbound, TCP: b.TCP}
	for _, name := range slices.Sorted(maps.Keys(b.Headers)) {
		value := b.Headers[name]
		if strings.EqualFold(name, "host") {
			q.Authority = value
			continue
		}
		q.Headers = append(q.Headers, [2]string{name, value})
	}
	if b.TLS {
		q.TLS, q.ALPNs = true, explain.MeshALPNs()
	}
	return q
}

// destination is the address that the client connects to.
func (c *Console) destination(b *explainRequest, to explain.Target, node compile.Node) (netip.AddrPort, error) {
	if b.Dest != "" {
		return netip.ParseAddrPort(b.Dest)
	}
	if b.Inbound || node.Kind == compile.Router {
		return netip.AddrPortFrom(node.IPs[0], to.Port), nil
	}
	return to.Resolve(c.Plane.Hosts(), node.Namespace)
}
