package hcm

import (
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// clientCert applies forward_client_cert_details to x-forwarded-client-cert.
func (h *handler) clientCert(r *stream.Request) {
	mutual := h.conn.TLS != nil && h.conn.TLS.Mutual
	switch mode := h.cfg.ClientCert; {
	case mode == config.CertAlwaysForwardOnly:
	case mode == config.CertSanitize || !mutual:
		// Without mTLS nobody vouches for what the client says.
		r.Del(stream.ForwardedClientCert)
	case mode == config.CertSanitizeSet:
		r.Set(stream.ForwardedClientCert, h.xfcc)
	case mode == config.CertAppendForward:
		old := r.Get(stream.ForwardedClientCert)
		if len(old) == 0 {
			r.Set(stream.ForwardedClientCert, h.xfcc)
			return
		}
		var room [512]byte
		value := append(append(room[:0], old...), ',')
		r.Set(stream.ForwardedClientCert, append(value, h.xfcc...))
	}
}

// appendClientCert appends our element of x-forwarded-client-cert for a
// connection: By, Hash, then the configured details in Envoy's order.
func appendClientCert(dst []byte, cfg *config.HTTP, t *stream.TLS) []byte {
	if !t.Mutual || cfg.ClientCert != config.CertAppendForward && cfg.ClientCert != config.CertSanitizeSet {
		return nil
	}
	if t.LocalURI != "" {
		dst = append(append(dst, "By="...), t.LocalURI...)
		dst = append(dst, ';')
	}
	dst = append(append(dst, "Hash="...), t.PeerHash...)
	if cfg.ClientCertPEM {
		dst = append(append(append(dst, `;Cert="`...), t.PeerPEM...), '"')
	}
	if cfg.ClientCertSubject {
		dst = append(appendEscaped(append(dst, `;Subject="`...), t.PeerSubj), '"')
	}
	if cfg.ClientCertURI {
		// The key is there even if the certificate has no URI.
		if len(t.PeerURIs) == 0 {
			dst = append(dst, ";URI="...)
		}
		for _, u := range t.PeerURIs {
			dst = append(append(dst, ";URI="...), u...)
		}
	}
	if cfg.ClientCertDNS {
		for _, d := range t.PeerDNS {
			dst = append(append(dst, ";DNS="...), d...)
		}
	}
	return dst
}

// appendEscaped escapes quotes, so that a name cannot end the value.
func appendEscaped(dst []byte, s string) []byte {
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			dst = append(dst, '\\')
		}
		dst = append(dst, s[i])
	}
	return dst
}
