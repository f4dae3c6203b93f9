package tlsctx

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// common is what both sides share: where material comes from and how peers are
// verified. It is immutable.
type common struct {
	secrets Secrets
	now     func() time.Time
	cfg     *config.CommonTLS
	certs   []source
	roots   source
	pins    pins
	crls    []*x509.RevocationList
}

func newCommon(cfg *config.CommonTLS, secrets Secrets, now func() time.Time) (*common, error) {
	if now == nil {
		now = time.Now
	}
	c := &common{secrets: secrets, now: now, cfg: cfg}
	for i, ref := range cfg.Certificates {
		s, err := newSource(ref)
		if err != nil {
			return nil, fmt.Errorf("tls certificate %d: %w", i, err)
		}
		c.certs = append(c.certs, s)
	}
	var err error
	if c.roots, err = newSource(cfg.Validation); err != nil {
		return nil, fmt.Errorf("tls validation context: %w", err)
	}
	if c.pins, err = newPins(cfg); err != nil {
		return nil, err
	}
	if c.crls, err = parseCRLs(cfg.CRLs); err != nil {
		return nil, err
	}
	return c, nil
}

// material is the secrets of one moment. Two materials with equal pointers are
// one identity and trust epoch.
type material struct {
	certs []*Secret
	roots *Secret
}

func (m *material) equal(o *material) bool {
	return m.roots == o.roots && slices.Equal(m.certs, o.certs)
}

// current looks the secrets up. It allocates nothing where into has room.
func (c *common) current(into []*Secret) (material, error) {
	m := material{certs: into[:0]}
	for _, src := range c.certs {
		s, err := src.get(c.secrets)
		if err != nil {
			return material{}, err
		}
		if s.Certificate == nil {
			return material{}, fmt.Errorf("the secret %q holds no certificate and key", src.name)
		}
		m.certs = append(m.certs, s)
	}
	if c.roots.isZero() {
		return m, nil
	}
	s, err := c.roots.get(c.secrets)
	if err != nil {
		return material{}, err
	}
	if len(s.Roots) == 0 {
		return material{}, fmt.Errorf("the secret %q holds no roots", c.roots.name)
	}
	m.roots = s
	return m, nil
}

// epoch holds what is derived from one material: never changed once built.
type epoch struct {
	material material
	certs    []tls.Certificate
	pool     *x509.CertPool // nil: the chain is not verified
	localURI string
}

func newEpoch(m material) *epoch {
	m.certs = slices.Clone(m.certs)
	e := &epoch{material: m}
	for _, s := range m.certs {
		e.certs = append(e.certs, *s.Certificate)
	}
	if len(e.certs) > 0 {
		if leaf := e.certs[0].Leaf; leaf != nil && len(leaf.URIs) > 0 {
			e.localURI = leaf.URIs[0].String()
		}
	}
	if m.roots != nil {
		e.pool = x509.NewCertPool()
		for _, r := range m.roots.Roots {
			e.pool.AddCert(r)
		}
	}
	return e
}

// baseConfig makes the part of a tls.Config that both sides share.
func (c *common) baseConfig(e *epoch) *tls.Config {
	cfg := &tls.Config{
		Time:         c.now,
		Rand:         rand.Reader,
		MinVersion:   c.cfg.MinVersion,
		MaxVersion:   c.cfg.MaxVersion,
		CipherSuites: c.cfg.Ciphers,
		// Small first records help browsers on slow links and cost a mesh system calls.
		DynamicRecordSizingDisabled: true,
	}
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
	return cfg
}
