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
}

// Port is a declared container port.
type Port struct {
	Name     string
	Number   uint16
	Protocol string // "TCP" (default), "UDP"
}

// Locality places a workload.
type Locality struct{ Region, Zone, Subzone string }
