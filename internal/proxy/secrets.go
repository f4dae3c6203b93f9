package proxy

import (
	"fmt"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// SecretURL is the type of secrets: over ADS come those of gateways, never a
// workload's own.
const SecretURL = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

// secrets gives the workload's own secrets, and those that came over ADS.
type secrets struct {
	own tlsctx.Secrets // may be nil

	mu  sync.RWMutex
	ads map[string]*tlsctx.Secret // guarded by mu
}

func newSecrets(own tlsctx.Secrets) *secrets {
	return &secrets{own: own, ads: map[string]*tlsctx.Secret{}}
}

// Secret implements tlsctx.Secrets. The workload's own go first: the control
// plane cannot replace them.
func (s *secrets) Secret(name string) (*tlsctx.Secret, bool) {
	if s.own != nil {
		if sec, ok := s.own.Secret(name); ok {
			return sec, true
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	sec, ok := s.ads[name]
	return sec, ok
}

func (s *secrets) set(name string, sec *tlsctx.Secret) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sec == nil {
		delete(s.ads, name)
	} else {
		s.ads[name] = sec
	}
}

// parseSecret reads a secret with inline data.
func parseSecret(body []byte) (*tlsctx.Secret, error) {
	m := &tlsv3.Secret{}
	if err := proto.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("secret: %w", err)
	}
	var cert, key, roots, crl []byte
	switch t := m.GetType().(type) {
	case *tlsv3.Secret_TlsCertificate:
		cert, key = inlineData(t.TlsCertificate.GetCertificateChain()), inlineData(t.TlsCertificate.GetPrivateKey())
	case *tlsv3.Secret_ValidationContext:
		roots, crl = inlineData(t.ValidationContext.GetTrustedCa()), inlineData(t.ValidationContext.GetCrl())
	default:
		return nil, fmt.Errorf("secret %q: only tls_certificate and validation_context are supported", m.GetName())
	}
	sec, err := tlsctx.ParseSecret(cert, key, roots)
	if err != nil {
		return nil, fmt.Errorf("secret %q: %w", m.GetName(), err)
	}
	if sec.CRLs, err = tlsctx.ParseCRLs(crl); err != nil {
		return nil, fmt.Errorf("secret %q: %w", m.GetName(), err)
	}
	return sec, nil
}

func inlineData(d *corev3.DataSource) []byte {
	if s := d.GetInlineString(); s != "" {
		return []byte(s)
	}
	return d.GetInlineBytes()
}

// adsSecrets adds the names of the secrets that a chain's TLS takes from ADS.
func adsSecrets(names map[string]bool, t *config.CommonTLS) {
	for _, ref := range append(t.Certificates[:len(t.Certificates):len(t.Certificates)], t.Validation) {
		if ref.FromADS && ref.Name != "" {
			names[ref.Name] = true
		}
	}
}
