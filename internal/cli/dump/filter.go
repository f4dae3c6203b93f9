package dump

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Clusters selects clusters by the parts of their names; zero fields select all.
type Clusters struct {
	FQDN      string // the host or a part of its end: "reviews.default.svc.cluster.local"
	Port      int
	Subset    string
	Direction string // "inbound" or "outbound"
}

// KeepClusters leaves the selected clusters only.
func (c *Config) KeepClusters(f Clusters) {
	c.Clusters = slices.DeleteFunc(c.Clusters, func(x *clusterv3.Cluster) bool {
		direction, port, subset, host := splitCluster(x.GetName())
		return f.FQDN != "" && !strings.Contains(host, f.FQDN) ||
			f.Port != 0 && port != strconv.Itoa(f.Port) ||
			f.Subset != "" && subset != f.Subset ||
			f.Direction != "" && !strings.EqualFold(direction, f.Direction)
	})
}

// Listeners selects listeners; zero fields select all.
type Listeners struct {
	Address string
	Port    int
	Type    string // "HTTP", "TCP" or "HTTP+TCP", as ListenerType gives it
}

// KeepListeners leaves the selected listeners only.
func (c *Config) KeepListeners(f Listeners) {
	c.Listeners = slices.DeleteFunc(c.Listeners, func(l *listenerv3.Listener) bool {
		addr, port := socketAddress(l.GetAddress())
		return f.Address != "" && !strings.EqualFold(addr, f.Address) ||
			f.Port != 0 && port != strconv.Itoa(f.Port) ||
			f.Type != "" && !strings.EqualFold(ListenerType(l), f.Type)
	})
}

// ListenerType is istioctl's word for what a listener's chains do: "HTTP", "TCP",
// "HTTP+TCP" or "UNKNOWN".
func ListenerType(l *listenerv3.Listener) string {
	http, tcp := false, false
	for _, fc := range append(slices.Clone(l.GetFilterChains()), l.GetDefaultFilterChain()) {
		for _, f := range fc.GetFilters() {
			switch url := f.GetTypedConfig().GetTypeUrl(); {
			case strings.HasSuffix(url, ".HttpConnectionManager"):
				http = true
			case strings.HasSuffix(url, ".TcpProxy"):
				tcp = true
			}
		}
	}
	switch {
	case http && tcp:
		return "HTTP+TCP"
	case http:
		return "HTTP"
	case tcp:
		return "TCP"
	}
	return "UNKNOWN"
}

// KeepRoutes leaves the route table of a name only; "" keeps all.
func (c *Config) KeepRoutes(name string) {
	if name != "" {
		other := func(r *routev3.RouteConfiguration) bool { return r.GetName() != name }
		c.Routes, c.Inline = slices.DeleteFunc(c.Routes, other), slices.DeleteFunc(c.Inline, other)
	}
}

// Endpoints selects endpoints; zero fields select all.
type Endpoints struct {
	Address string
	Port    int
	Cluster string // the whole name
	Status  string // "healthy", "unhealthy", …
}

// Endpoint is one endpoint of a cluster as a proxy sees it.
type Endpoint struct {
	Address, Status, Outlier, Cluster, Locality string
}

// Keep leaves the selected endpoints, sorted by address and cluster.
func (f Endpoints) Keep(list []Endpoint) []Endpoint {
	list = slices.DeleteFunc(list, func(e Endpoint) bool {
		i := strings.LastIndexByte(e.Address, ':')
		host, port := e.Address, ""
		if i >= 0 {
			host, port = e.Address[:i], e.Address[i+1:]
		}
		return f.Address != "" && host != f.Address || f.Port != 0 && port != strconv.Itoa(f.Port) ||
			f.Cluster != "" && e.Cluster != f.Cluster || f.Status != "" && !strings.EqualFold(e.Status, f.Status)
	})
	slices.SortFunc(list, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.Cluster, b.Cluster))
	})
	return list
}
