package tlsctx

import (
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// ServerOptions are what a server context needs besides its configuration.
type ServerOptions struct {
	// HTTP1 says that the chain serves HTTP/1.1 and nothing else (its codec_type):
	// HTTP/2 is then not negotiated, whatever the configuration names.
	HTTP1 bool
	// PeerPEM fills stream.TLS.PeerPEM, for chains whose XFCC carries the
	// certificate.
	PeerPEM bool
	Now     func() time.Time // nil: time.Now
}

// Server is the server context of one filter chain. Safe for concurrent use.
type Server struct {
	// immutable
	common  *common
	require bool
	alpn    []string
	peerPEM bool

	mu  sync.Mutex
	cur *serverEpoch // guarded by mu
}

// serverEpoch is one pair of tls.Configs that share ticket keys.
type serverEpoch struct {
	*epoch
	config *tls.Config
}

// NewServer checks the configuration and makes its context. Secrets need not be
// there yet.
func NewServer(cfg *config.DownstreamTLS, secrets Secrets, o ServerOptions) (*Server, error) {
	c, err := newCommon(&cfg.Common, secrets, o.Now)
	if err != nil {
		return nil, err
	}
	if len(c.certs) == 0 {
		return nil, fmt.Errorf("server tls context without a certificate")
	}
	if cfg.RequireClient && c.roots.isZero() && !cfg.Common.InsecureSkipVerify {
		return nil, fmt.Errorf("a client certificate is required but there is no validation context to check it")
	}
	s := &Server{common: c, require: cfg.RequireClient, alpn: cfg.Common.ALPN, peerPEM: o.PeerPEM}
	if o.HTTP1 {
		s.alpn = withoutHTTP2(s.alpn)
	}
	return s, nil
}

// Config returns the configuration for the next handshake, built from the secrets
// of now. The error says which secret is missing; the connection must be closed.
func (s *Server) Config() (*tls.Config, error) {
	var room [4]*Secret
	m, err := s.common.current(room[:0])
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cur == nil || !s.cur.material.equal(&m) {
		if s.cur, err = s.build(newEpoch(m)); err != nil {
			s.cur = nil
			return nil, err
		}
	}
	return s.cur.config, nil
}

func (s *Server) build(e *epoch) (*serverEpoch, error) {
	var key [32]byte
	if _, err := rand.Read(key[:]); err != nil {
		return nil, fmt.Errorf("ticket key: %w", err)
	}
	cfg := s.common.baseConfig(e)
	cfg.Certificates = e.certs
	cfg.NextProtos = s.alpn
	cfg.ClientCAs = e.pool // a hint for clients; verification is ours
	switch {
	case s.require:
		cfg.ClientAuth = tls.RequireAnyClientCert
	case e.pool != nil:
		cfg.ClientAuth = tls.RequestClientCert
	}
	v := &verifier{common: s.common, epoch: e, server: true}
	cfg.VerifyConnection = v.verify
	cfg.SetSessionTicketKeys([][32]byte{key})

	// crypto/tls aborts where no protocol is common; Envoy goes on without one.
	plain := cfg.Clone()
	plain.NextProtos = nil
	plain.SetSessionTicketKeys([][32]byte{key})
	cfg.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		if len(h.SupportedProtos) > 0 && !overlap(h.SupportedProtos, s.alpn) {
			return plain, nil
		}
		return nil, nil
	}
	return &serverEpoch{epoch: e, config: cfg}, nil
}

func overlap(a, b []string) bool {
	for _, x := range a {
		for _, y := range b {
			if x == y {
				return true
			}
		}
	}
	return false
}

// Facts describes a completed handshake. Call it once per connection.
func (s *Server) Facts(cs tls.ConnectionState) *stream.TLS {
	s.mu.Lock()
	local := ""
	if s.cur != nil {
		local = s.cur.localURI
	}
	s.mu.Unlock()
	f := facts(cs, local)
	if s.peerPEM && len(cs.PeerCertificates) > 0 {
		f.PeerPEM = encodedPEM(cs.PeerCertificates[0])
	}
	return f
}
