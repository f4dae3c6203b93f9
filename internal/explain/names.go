package explain

import (
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
)

// identify gives a node's name and the object that it comes from.
func identify(node any) (name, from string) {
	switch n := node.(type) {
	case *config.Listener:
		return n.Name, origin(n.Metadata.Config)
	case *config.FilterChain:
		if n.Name == "" {
			return "(without name)", origin(n.Metadata.Config)
		}
		return n.Name, origin(n.Metadata.Config)
	case *config.VirtualHost:
		return n.Name, origin(n.Metadata.Config)
	case *config.Route:
		if n.Name == "" {
			return match.Describe(&n.Match), origin(n.Metadata.Config)
		}
		return n.Name, origin(n.Metadata.Config)
	case *config.WeightedCluster:
		return n.Cluster.Name, ""
	}
	return "", ""
}

// origin turns istio.config metadata into words:
// "/apis/networking.istio.io/v1/namespaces/default/virtual-service/reviews" is
// "VirtualService default/reviews". What has another form stays as it is.
func origin(path string) string {
	parts := strings.Split(strings.TrimPrefix(path, "/apis/"), "/")
	if len(parts) != 6 || parts[2] != "namespaces" {
		return path
	}
	var kind strings.Builder
	for _, word := range strings.Split(parts[4], "-") {
		if word != "" {
			kind.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return kind.String() + " " + parts[3] + "/" + parts[5]
}

// number writes a number with at most three decimals and no trailing zeros.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'f', 3, 64)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

func millionths(v uint32) string { return number(float64(v)/10_000) + " %" }
