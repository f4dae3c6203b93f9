package compile

import (
	"cmp"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// serverName is the value of the header "server" in responses, as in Istio.
const serverName = "istio-envoy"

// requests is how the node reads requests: as the mesh has it, but for what the proxy
// tells of its own configuration.
func requests(s *mesh.Settings, n *Node) ir.Requests {
	h := headersOf(s, n)
	edge := &s.Topology
	if n.Topology != nil {
		edge = n.Topology
	}
	or := func(v *bool, def bool) bool {
		if v == nil {
			return def
		}
		return *v
	}
	return ir.Requests{
		Paths: paths(s.Paths), HTTP10: s.HTTP10 || n.HTTP10, DetectionTimeout: s.DetectionTimeout,
		ClientCert:  string(h.ClientCert),
		CertSubject: or(h.CertDetails.Subject, true), CertPEM: or(h.CertDetails.Cert, false),
		CertDNS: or(h.CertDetails.DNS, true), CertURI: or(h.CertDetails.URI, true),
		NoRequestID: h.NoRequestID, NoServer: h.NoServer, Server: cmp.Or(h.Server, serverName),
		NoDebugHeaders: h.NoDebug, PreserveCase: h.PreserveCase, ForwardedPort: h.ForwardedPort,
		TrustedHops: edge.TrustedProxies, EdgeClientCert: string(edge.ClientCert), ProxyProtocol: edge.ProxyProtocol,
	}
}

func headersOf(s *mesh.Settings, n *Node) *mesh.ProxyHeaders {
	if n.Headers != nil {
		return n.Headers
	}
	return &s.Headers
}

// hostHeaders are the headers that routes of a virtual host add, and not the proxy as
// a whole.
type hostHeaders struct {
	told                       bool // by the proxy: the mesh's do not matter
	noAttemptCount, addForward bool
}

// hostHeaders is what the node tells of its own; zero where it tells nothing.
func (n *Node) hostHeaders() hostHeaders {
	if n.Headers == nil {
		return hostHeaders{}
	}
	return hostHeaders{true, n.Headers.NoAttemptCount, n.Headers.ForwardedHost}
}

// addHeaders says which headers of the proxy's own the routes of a host add.
func (c *compiler) addHeaders(h *ir.VirtualHost) {
	own := c.client.hostHeaders()
	if !own.told {
		s := &c.snap.Settings().Headers
		own.noAttemptCount, own.addForward = s.NoAttemptCount, s.ForwardedHost
	}
	h.NoAttemptCount, h.ForwardedHost = own.noAttemptCount, own.addForward
}

func paths(p mesh.PathNormalization) ir.Paths {
	switch p {
	case mesh.PathNone:
		return ir.PathsAsTheyAre
	case mesh.PathMergeSlashes:
		return ir.PathsMerged
	case mesh.PathDecodeAndMergeSlash:
		return ir.PathsDecoded
	}
	return ir.PathsBase
}
