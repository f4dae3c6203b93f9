package istioapi

import (
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// qualify gives a host's full name: a name without dots is a service of the
// object's own namespace (Istio, VirtualService "hosts"); anything else is taken
// as it is. Names are lower case.
func qualify(host, namespace string) string {
	host = strings.ToLower(host)
	if host == "" || host == "*" || strings.Contains(host, ".") {
		return host
	}
	return mesh.Hostname(host, namespace)
}

// gatewayNames qualifies the names in a gateways field: "mesh" stays, others get
// the object's namespace if they have none. Istio's old form "name.namespace.svc…"
// is not known.
func gatewayNames(names []string, namespace string) []string {
	var out []string
	for _, n := range names {
		if n != mesh.MeshGateway && !strings.Contains(n, "/") {
			n = namespace + "/" + n
		}
		out = append(out, n)
	}
	return out
}
