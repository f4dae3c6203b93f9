package dump

import (
	"cmp"
	"fmt"
	"io"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// ParseEndpoints reads the JSON of /clusters?format=json.
func ParseEndpoints(clusters []byte) ([]Endpoint, error) {
	var d adminv3.Clusters
	if err := lenient.Unmarshal(clusters, &d); err != nil {
		return nil, fmt.Errorf("reading the endpoints: %w", err)
	}
	list := []Endpoint{}
	for _, c := range d.GetClusterStatuses() {
		for _, h := range c.GetHostStatuses() {
			e := Endpoint{
				Address: address(h.GetAddress()), Outlier: "OK", Cluster: c.GetName(), Locality: locality(h.GetLocality()),
				Status: health(h.GetHealthStatus().GetEdsHealthStatus()),
			}
			if h.GetHealthStatus().GetFailedOutlierCheck() {
				e.Outlier = "FAILED"
			}
			if h.GetHealthStatus().GetFailedActiveHealthCheck() {
				e.Status = corev3.HealthStatus_UNHEALTHY.String()
			}
			list = append(list, e)
		}
	}
	return list, nil
}

// health reads no health as good, which it means in the API.
func health(s corev3.HealthStatus) string { return cmp.Or(s, corev3.HealthStatus_HEALTHY).String() }

func address(a *corev3.Address) string {
	if s := a.GetSocketAddress(); s != nil {
		return fmt.Sprintf("%s:%d", s.GetAddress(), s.GetPortValue())
	}
	if i := a.GetEnvoyInternalAddress(); i != nil {
		return "envoy://" + i.GetServerListenerName() + "/" + i.GetEndpointId()
	}
	return a.GetPipe().GetPath()
}

func locality(l *corev3.Locality) string {
	return strings.TrimRight(strings.Join([]string{l.GetRegion(), l.GetZone(), l.GetSubZone()}, "/"), "/")
}

// Assigned lists the endpoints that the dump holds: what the proxy was told, not
// what it found out of their health.
func (c *Config) Assigned() []Endpoint {
	list := []Endpoint{}
	for _, a := range c.Endpoints {
		for _, group := range a.GetEndpoints() {
			for _, e := range group.GetLbEndpoints() {
				list = append(list, Endpoint{
					Address: address(e.GetEndpoint().GetAddress()), Status: health(e.GetHealthStatus()), Outlier: "OK",
					Cluster: a.GetClusterName(), Locality: locality(group.GetLocality()),
				})
			}
		}
	}
	return list
}

// WriteEndpoints prints endpoints as `istioctl proxy-config endpoint` does.
func WriteEndpoints(w io.Writer, list []Endpoint) error {
	var rows [][]string
	for _, e := range list {
		rows = append(rows, []string{e.Address, e.Status, e.Outlier, e.Cluster})
	}
	return table(w, "ENDPOINT|STATUS|OUTLIER CHECK|CLUSTER", rows)
}

// WriteAssigned prints endpoints as `istioctl proxy-config eds` does.
func WriteAssigned(w io.Writer, list []Endpoint) error {
	var rows [][]string
	for _, e := range list {
		rows = append(rows, []string{e.Address, e.Status, e.Locality, e.Cluster})
	}
	return table(w, "NAME|STATUS|LOCALITY|CLUSTER", rows)
}
