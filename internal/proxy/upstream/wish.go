package upstream

import (
	"bytes"
	"net/netip"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// wish is what a request wants of a connection. Connections are shared by requests
// with equal wishes. The zero value is that of opaque bytes.
type wish struct {
	speak tlsctx.Speak
	alpn  *stream.ALPN // nil: the link's
	sni   string       // with auto_sni: the request's host
	// authority is the request's, while sni is not made of it: a request whose pool is
	// there needs no string.
	authority []byte
}

// wishOf gives what s wants of connections of a cluster over l.
func wishOf(cfg *config.Cluster, s *stream.Stream, l *link) wish {
	w := wish{speak: tlsctx.HTTP1}
	switch cfg.Protocol {
	case config.SpeakHTTP2:
		w.speak = tlsctx.HTTP2
	case config.SpeakDownstream:
		if s.Request.Proto == stream.HTTP2 {
			w.speak = tlsctx.HTTP2
		}
	case config.SpeakALPN:
		// Plain text negotiates nothing. An upgrade asks for the version in which every
		// server that takes upgrades knows them.
		if l.tls != nil && s.Request.Upgrade == "" {
			w.speak = tlsctx.Negotiated
		}
	}
	if l.tls == nil {
		return w
	}
	if l.mesh {
		w.alpn = s.UpstreamALPN
	}
	if l.cfg.AutoSNI && l.cfg.SNI == "" {
		w.authority = s.Request.Authority
	}
	return w
}

// speaks reports whether requests to the cluster may have wishes of the kind.
func speaks(cfg *config.Cluster, what tlsctx.Speak) bool {
	switch cfg.Protocol {
	case config.SpeakHTTP2:
		return what == tlsctx.HTTP2
	case config.SpeakDownstream:
		return what != tlsctx.Negotiated
	case config.SpeakALPN:
		return what != tlsctx.HTTP2
	}
	return what == tlsctx.HTTP1
}

// resolve makes the name of the authority.
func (w *wish) resolve() {
	if w.authority != nil {
		w.sni, w.authority = hostOf(w.authority), nil
	}
}

// withoutPort gives the host of an authority, in brackets where it is an IPv6
// address.
func withoutPort(authority []byte) []byte {
	if i := bytes.LastIndexByte(authority, ':'); i >= 0 && !bytes.HasSuffix(authority, []byte("]")) {
		return authority[:i]
	}
	return authority
}

// hostOf gives the host of an authority; "" for an address, which SNI must not
// carry (RFC 6066 §3).
func hostOf(authority []byte) string {
	host := string(withoutPort(authority))
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return ""
	}
	return strings.ToLower(host)
}

// meets reports whether connections made for p, which is resolved, serve w.
func (w *wish) meets(p *wish) bool {
	if w.speak != p.speak || !w.alpn.Equal(p.alpn) {
		return false
	}
	if w.authority != nil {
		return p.sni != "" && stream.EqualFold(withoutPort(w.authority), p.sni)
	}
	return w.sni == p.sni
}
