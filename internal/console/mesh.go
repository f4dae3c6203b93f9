package console

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/url"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/push"
)

// meshView is the answer to GET /api/mesh.
type meshView struct {
	Name          string         `json:"name,omitempty"`
	Home          string         `json:"home"`
	Version       string         `json:"version"`
	TrustDomain   string         `json:"trustDomain,omitempty"`
	RootNamespace string         `json:"rootNamespace,omitempty"`
	ReadOnly      bool           `json:"readOnly"`
	Now           float64        `json:"now"`
	Started       float64        `json:"started,omitempty"`
	ControlPlane  planeView      `json:"controlPlane"`
	Certificates  certificates   `json:"certificates"`
	Proxies       proxyCounts    `json:"proxies"`
	Verdicts      map[string]int `json:"verdicts"`
	History       historyView    `json:"history"`
}

type planeView struct {
	Ready      bool               `json:"ready"`
	Reason     string             `json:"reason,omitempty"`
	Generation int64              `json:"generation"`
	Revision   int64              `json:"revision"`
	Built      float64            `json:"built,omitempty"`
	Pushes     map[string]float64 `json:"pushes"`
	Refusals   float64            `json:"refusals"`
}

type certificates struct {
	Roots     []certificate `json:"roots"`
	Workloads []certificate `json:"workloads"`
}

type certificate struct {
	Proxy     string  `json:"proxy,omitempty"`
	Subject   string  `json:"subject"`
	Serial    string  `json:"serial,omitempty"`
	NotBefore float64 `json:"notBefore"`
	NotAfter  float64 `json:"notAfter"`
}

type proxyCounts struct {
	Connected int `json:"connected"`
	Synced    int `json:"synced"`
	Stale     int `json:"stale"`
	Refused   int `json:"refused"`
}

// historyView says where numbers of traffic come from.
type historyView struct {
	Source           string  `json:"source"`
	URL              string  `json:"url,omitempty"`
	Series           int     `json:"series,omitempty"`
	Bytes            int64   `json:"bytes,omitempty"`
	Oldest           float64 `json:"oldest,omitempty"`
	RetentionSeconds float64 `json:"retentionSeconds,omitempty"`
	Reporting        int     `json:"reporting,omitempty"`
}

func (c *Console) mesh(r *http.Request) (any, error) {
	p := c.Plane.Describe()
	v := meshView{
		Name: c.Name, Home: c.Home, Version: p.Version, ReadOnly: c.ReadOnly, Now: unix(c.Now()), Started: unix(p.Started),
		ControlPlane: planeView{Ready: p.NotReady == nil, Generation: p.Generation, Revision: p.Revision, Built: unix(p.Built), Pushes: p.Pushes},
		Certificates: certificates{Workloads: []certificate{}},
		Verdicts:     map[string]int{}, History: c.historyView(),
	}
	if p.NotReady != nil {
		v.ControlPlane.Reason = p.NotReady.Error()
	}
	for _, n := range p.Refusals {
		v.ControlPlane.Refusals += n
	}
	if s := c.Plane.Snapshot(); s != nil {
		v.TrustDomain, v.RootNamespace = s.TrustDomain(), s.RootNamespace()
	}
	var err error
	if v.Certificates.Roots, err = readCertificates(p.Roots); err != nil {
		return nil, fmt.Errorf("the mesh's roots: %w", err)
	}
	for _, p := range c.Plane.Proxies() {
		v.Proxies.add(&p)
	}
	var list configapi.StatusList
	if err := c.config.call(r, http.MethodGet, "/v1/status", url.Values{}, http.NoBody, &list); err != nil {
		return nil, err
	}
	for _, o := range list.Objects {
		v.Verdicts[string(o.Verdict)]++
	}
	return v, nil
}

func (c *Console) historyView() historyView {
	i := c.History.Info()
	v := historyView{Source: "reports", Series: i.Sets, Bytes: i.Bytes, Oldest: unix(i.Oldest), RetentionSeconds: c.History.Retention().Seconds()}
	if c.Reporting != nil {
		v.Reporting = c.Reporting()
	}
	return v
}

func (n *proxyCounts) add(p *push.ProxyStatus) {
	n.Connected++
	switch {
	case len(p.Refusals) > 0:
		n.Refused++
	case inForce(p):
		n.Synced++
	default:
		n.Stale++
	}
}

// inForce reports whether a proxy has answered for all that it was offered.
func inForce(p *push.ProxyStatus) bool {
	return p.Waiting == "" && p.Revision >= p.Offered && len(p.Refusals) == 0
}

// readCertificates reads a bundle in PEM.
func readCertificates(text []byte) ([]certificate, error) {
	out := []certificate{}
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out, nil
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		x, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, certificate{Subject: x.Subject.String(), Serial: x.SerialNumber.Text(16), NotBefore: unix(x.NotBefore), NotAfter: unix(x.NotAfter)})
	}
}
