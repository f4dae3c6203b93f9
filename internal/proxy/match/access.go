package match

import (
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Access is what access rules came to.
type Access struct {
	Allowed bool
	Policy  *config.AccessPolicy // the first that matched; nil: none did
}

// DecideAccess evaluates rules for an exchange, or for a connection, which is a
// stream that has a Conn and no request: what asks for parts of a request does
// not hold then. Policies are tried by name, as in Envoy, and the first that
// matches decides.
func DecideAccess(rules *config.RBAC, s *stream.Stream, rec Recorder) Access {
	f := accessFacts{s: s, http: len(s.Request.Method) > 0}
	if f.http {
		f.path = pathOnly(s.Request.Path)
	}
	var hit *config.AccessPolicy
	for _, p := range rules.Policies {
		ok := f.holds(&p.Permissions) && f.holds(&p.Principals)
		if rec != nil {
			rec.Candidate(Candidate{Node: p, Matched: ok, Why: f.reason(p, ok)})
		}
		if ok {
			hit = p
			break
		}
	}
	switch rules.Action {
	case config.ActionAllow:
		return Access{Allowed: hit != nil, Policy: hit}
	case config.ActionDeny:
		return Access{Allowed: hit == nil, Policy: hit}
	}
	return Access{Allowed: true, Policy: hit}
}

// accessFacts is what conditions look at, and what is computed once for all.
type accessFacts struct {
	s    *stream.Stream
	http bool   // there is a request
	path []byte // without query and fragment
}

// holds reports whether a condition holds.
func (f *accessFacts) holds(c *config.Condition) bool {
	switch c.Kind {
	case config.CondAlways:
		return true
	case config.CondAll:
		for i := range c.Parts {
			if !f.holds(&c.Parts[i]) {
				return false
			}
		}
		return true
	case config.CondAny:
		for i := range c.Parts {
			if f.holds(&c.Parts[i]) {
				return true
			}
		}
		return false
	case config.CondNot:
		return !f.holds(&c.Parts[0])
	case config.CondHeader:
		return f.headerHolds(c.Header)
	case config.CondPath:
		return f.http && len(f.s.Request.Path) > 0 && StringMatches(c.Text, f.path)
	case config.CondMetadata:
		return MetadataMatches(c.Metadata, &f.s.Metadata)
	}
	return f.s.Conn != nil && f.connHolds(c)
}

// headerHolds: a connection has no fields, which agrees with a match that wants
// one absent.
func (f *accessFacts) headerHolds(h *config.HeaderMatch) bool {
	if !f.http {
		return settle(h, false, false)
	}
	return HeaderMatches(h, &f.s.Request)
}

// connHolds decides on what is known of the connection.
func (f *accessFacts) connHolds(c *config.Condition) bool {
	conn := f.s.Conn
	switch c.Kind {
	case config.CondDestIP:
		return inPrefix(c.Prefix, conn.Local.Addr())
	case config.CondDestPort:
		port := uint32(conn.Local.Port())
		return c.PortLo <= port && port < c.PortHi
	case config.CondSourceIP:
		return inPrefix(c.Prefix, conn.Remote.Addr())
	case config.CondDirectIP:
		return inPrefix(c.Prefix, direct(conn))
	case config.CondRemoteIP:
		return inPrefix(c.Prefix, f.s.Client())
	case config.CondServerName:
		return textMatches(c.Text, serverName(conn))
	case config.CondPrincipal:
		return isPrincipal(c.Text, conn.TLS)
	case config.CondPeer:
		return conn.TLS != nil && conn.TLS.PeerURI != "" && textMatches(c.Text, conn.TLS.PeerURI)
	}
	return false
}

func inPrefix(p netip.Prefix, a netip.Addr) bool { return p.Contains(a.Unmap().WithZone("")) }

// direct is the other end of the connection's socket.
func direct(c *stream.Conn) netip.Addr {
	if c.Direct.IsValid() {
		return c.Direct.Addr()
	}
	return c.Remote.Addr()
}

// serverName is the SNI, whoever read it: the inspector or the handshake.
func serverName(c *stream.Conn) string {
	if c.ServerName == "" && c.TLS != nil {
		return c.TLS.ServerName
	}
	return c.ServerName
}

// isPrincipal looks for a principal among the names of the client's certificate:
// URIs, DNS names, and the subject. Without a matcher every TLS client is one:
// whether it needs a certificate is the listener's matter
// (Principal.Authenticated.principal_name).
func isPrincipal(m *config.StringMatch, t *stream.TLS) bool {
	if t == nil {
		return false
	}
	if m == nil {
		return true
	}
	for _, uri := range t.PeerURIs {
		if textMatches(m, uri) {
			return true
		}
	}
	for _, name := range t.PeerDNS {
		if textMatches(m, name) {
			return true
		}
	}
	return textMatches(m, t.PeerSubj)
}
