package mesh

import "strings"

const (
	// Domain is the suffix of services' names.
	Domain = "cluster.local"
	// DefaultRootNamespace holds mesh-wide policies.
	DefaultRootNamespace = "istio-system"
	// MeshGateway is the name that stands for all sidecars in a RouteSet's Gateways.
	MeshGateway = "mesh"
)

// Hostname is a service's full name: "reviews.default.svc.cluster.local".
func Hostname(service, namespace string) string {
	return service + "." + namespace + ".svc." + Domain
}

// hostMatches reports whether host, exact or a wildcard, lies within pattern,
// which is exact, "*.suffix" or "*".
func hostMatches(pattern, host string) bool {
	if pattern == "*" {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	if !wild {
		return pattern == host
	}
	return strings.HasSuffix(strings.TrimPrefix(host, "*"), suffix) && len(host) > len(suffix)
}

// Intersect is the narrower of two hosts where one lies within the other.
func Intersect(a, b string) (host string, ok bool) {
	switch {
	case hostMatches(a, b):
		return b, true
	case hostMatches(b, a):
		return a, true
	}
	return "", false
}

// visible reports whether something of namespace home, exported to exportTo, is
// seen from namespace ns. An empty list means everywhere.
func visible(exportTo []string, home, ns string) bool {
	if len(exportTo) == 0 {
		return true
	}
	for _, e := range exportTo {
		if e == "*" || e == ns || e == "." && home == ns {
			return true
		}
	}
	return false
}
