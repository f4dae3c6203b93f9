package tlsctx

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// verifier holds a peer to the rules of one epoch.
type verifier struct {
	*common
	*epoch
	server bool // we are the server: the peer is a client
	known  verified
}

// verify is tls.Config.VerifyConnection.
//
// A session may be resumed on a context whose roots changed between its handshake
// and this one only if the ticket key survived, which it does not; the check here
// does not rely on that.
func (v *verifier) verify(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return nil // crypto/tls has enforced RequireAnyClientCert already
	}
	leaf := cs.PeerCertificates[0]
	if v.pool != nil && !v.cfg.InsecureSkipVerify {
		if err := v.chain(cs.PeerCertificates); err != nil {
			return err
		}
	}
	if !v.pins.match(leaf) {
		return fmt.Errorf("peer certificate %s: matches no configured certificate hash", leafName(leaf))
	}
	if len(v.cfg.SANs) > 0 && !matchSANs(v.cfg.SANs, leaf) {
		return fmt.Errorf("peer certificate %s: no subject alternative name matches", leafName(leaf))
	}
	return nil
}

// chain verifies the peer's chain against the roots, the clock and the revocation
// lists. What it has accepted it need not verify again before a certificate of it
// expires.
func (v *verifier) chain(certs []*x509.Certificate) error {
	leaf, at := certs[0], v.now()
	key := chainKey(certs)
	if v.known.has(key, at) {
		return nil
	}
	if v.cfg.AllowExpired {
		at = clamp(at, leaf.NotBefore, leaf.NotAfter)
	}
	usage := x509.ExtKeyUsageServerAuth
	if v.server {
		usage = x509.ExtKeyUsageClientAuth
	}
	o := x509.VerifyOptions{
		Roots:         v.pool,
		Intermediates: x509.NewCertPool(),
		CurrentTime:   at,
		KeyUsages:     []x509.ExtKeyUsage{usage},
	}
	for _, c := range certs[1:] {
		o.Intermediates.AddCert(c)
	}
	chains, err := leaf.Verify(o)
	if err != nil {
		return fmt.Errorf("peer certificate %s: %w", leafName(leaf), err)
	}
	if err := checkRevoked(v.crls, chains); err != nil {
		return err
	}
	if v.material.roots != nil {
		if err := checkRevoked(v.material.roots.CRLs, chains); err != nil {
			return err
		}
	}
	if !v.cfg.AllowExpired {
		v.known.add(key, chains)
	}
	return nil
}

func clamp(t, lo, hi time.Time) time.Time {
	if t.Before(lo) {
		return lo
	}
	if t.After(hi) {
		return hi
	}
	return t
}

// leafName names a certificate in errors: its SPIFFE id, else a DNS name, else
// its subject.
func leafName(c *x509.Certificate) string {
	switch {
	case len(c.URIs) > 0:
		return c.URIs[0].String()
	case len(c.DNSNames) > 0:
		return c.DNSNames[0]
	}
	return c.Subject.String()
}

// matchSANs reports whether any matcher matches any subject alternative name.
func matchSANs(ms []config.StringMatch, c *x509.Certificate) bool {
	for i := range ms {
		m := &ms[i]
		for _, u := range c.URIs {
			if matchString(m, u.String()) {
				return true
			}
		}
		for _, d := range c.DNSNames {
			if matchString(m, d) || m.Kind == config.StringExact && wildcardCovers(d, m.Value) {
				return true
			}
		}
		for _, ip := range c.IPAddresses {
			if matchString(m, ip.String()) {
				return true
			}
		}
		for _, e := range c.EmailAddresses {
			if matchString(m, e) {
				return true
			}
		}
	}
	return false
}

// wildcardCovers reports whether "*.example.com" covers name: one label only.
func wildcardCovers(pattern, name string) bool {
	rest, ok := strings.CutPrefix(pattern, "*.")
	if !ok {
		return false
	}
	_, tail, found := strings.Cut(name, ".")
	return found && strings.EqualFold(tail, rest)
}

func matchString(m *config.StringMatch, s string) bool {
	if m.CaseFold {
		s = strings.ToLower(s)
	}
	switch m.Kind {
	case config.StringExact:
		return s == m.Value
	case config.StringPrefix:
		return strings.HasPrefix(s, m.Value)
	case config.StringSuffix:
		return strings.HasSuffix(s, m.Value)
	case config.StringContains:
		return strings.Contains(s, m.Value)
	case config.StringRegex:
		loc := m.Regex.FindStringIndex(s)
		return loc != nil && loc[0] == 0 && loc[1] == len(s)
	case config.StringAny:
		return true
	}
	return false
}

// pins are verify_certificate_spki and verify_certificate_hash: one of either
// list must match where a list is given.
type pins struct{ spki, hash [][]byte }

func newPins(cfg *config.CommonTLS) (pins, error) {
	var p pins
	for _, s := range cfg.SPKI {
		b, err := base64.StdEncoding.DecodeString(s)
		if err != nil || len(b) != sha256.Size {
			return p, fmt.Errorf("tls spki %q: not a base64 SHA-256", s)
		}
		p.spki = append(p.spki, b)
	}
	for _, s := range cfg.CertHashes {
		b, err := hex.DecodeString(strings.ReplaceAll(s, ":", ""))
		if err != nil || len(b) != sha256.Size {
			return p, fmt.Errorf("tls certificate hash %q: not a hex SHA-256", s)
		}
		p.hash = append(p.hash, b)
	}
	return p, nil
}

func (p pins) match(c *x509.Certificate) bool {
	if len(p.spki) == 0 && len(p.hash) == 0 {
		return true
	}
	spki, hash := sha256.Sum256(c.RawSubjectPublicKeyInfo), sha256.Sum256(c.Raw)
	return contains(p.spki, spki[:]) || contains(p.hash, hash[:])
}

func contains(list [][]byte, b []byte) bool {
	for _, x := range list {
		if bytes.Equal(x, b) {
			return true
		}
	}
	return false
}

func parseCRLs(data []byte) ([]*x509.RevocationList, error) {
	var lists []*x509.RevocationList
	for len(bytes.TrimSpace(data)) > 0 {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, errors.New("revocation list: not PEM")
		}
		l, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("revocation list %d: %w", len(lists)+1, err)
		}
		lists = append(lists, l)
	}
	return lists, nil
}

// checkRevoked fails if every verified chain holds a certificate that a list,
// signed by its issuer in that chain, revokes.
func checkRevoked(lists []*x509.RevocationList, chains [][]*x509.Certificate) error {
	if len(lists) == 0 {
		return nil
	}
	var err error
	for _, chain := range chains {
		if err = chainRevoked(lists, chain); err == nil {
			return nil
		}
	}
	return err
}

func chainRevoked(lists []*x509.RevocationList, chain []*x509.Certificate) error {
	for i, c := range chain[:len(chain)-1] {
		issuer := chain[i+1]
		for _, l := range lists {
			if !bytes.Equal(l.RawIssuer, issuer.RawSubject) || l.CheckSignatureFrom(issuer) != nil {
				continue
			}
			for _, e := range l.RevokedCertificateEntries {
				if e.SerialNumber.Cmp(c.SerialNumber) == 0 {
					return fmt.Errorf("peer certificate %s: serial %s is revoked", leafName(c), c.SerialNumber)
				}
			}
		}
	}
	return nil
}
