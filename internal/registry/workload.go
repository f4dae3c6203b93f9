// Package registry knows who serves what: workload instances and the services
// that select them.
package registry

import "net/netip"

// Workload is one running instance of a workload: a pod, or a process of the
// local mode. Values are immutable.
type Workload struct {
	Name           string // instance name, unique in its namespace: "reviews-v1-0"
	Namespace      string
	Owner          string // name of the Deployment or other controller: "reviews-v1"; Name where there is none
	OwnerKind      string // "Deployment"
	ServiceAccount string // "default" where the manifest has none
	Labels         map[string]string
	Annotations    map[string]string
	Addr           netip.Addr
	Ports          []Port // declared container ports, for Services' named target ports
	// Ready is false before the readiness probe passes and while terminating.
	Ready bool
	// Proxied is true when a mesh proxy stands before the instance: it can be
	// called with mTLS.
	Proxied  bool
	Locality Locality
	Node     string
	// Outside is true for what a WorkloadEntry or a ServiceEntry lists. Its Ports are
	// named as those of the services.
	Outside bool
	DNSName string // in place of Addr; "": none
	Weight  uint32 // share of the calls among its like; 0: 1
	// Serves says whose endpoint the instance is, where something else than labels
	// decides that: Kubernetes' EndpointSlices. Nil leaves it to the services'
	// selectors; not nil, even if empty, means exactly these.
	Serves []Membership
}

// Membership makes a workload an endpoint of a service.
type Membership struct {
	Service string     // key, "namespace/name"
	Addr    netip.Addr // where the service is served: of the family that it asks for
	Ports   []Port     // by the names of the service's ports
	Health  Health
}

// Health is what is known of an endpoint.
type Health uint8

// An endpoint that is Draining still serves and is about to end; like kube-proxy,
// the mesh calls it only where a service has no ready endpoint left.
const (
	Unready Health = iota
	Draining
	Healthy
)

// Port is a declared container port.
type Port struct {
	Name     string
	Number   uint16
	Protocol string // "TCP" (default), "UDP"
}

// Locality places a workload.
type Locality struct{ Region, Zone, Subzone string }
