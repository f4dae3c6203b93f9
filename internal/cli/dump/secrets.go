package dump

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// Secret is what may be shown of a secret: never its key.
type Secret struct {
	Name, Kind, State   string
	Serial              string
	NotBefore, NotAfter time.Time
	Err                 error
}

func readSecret(name, state string, a *anypb.Any) Secret {
	s := Secret{Name: name, State: state}
	var m tlsv3.Secret
	if err := a.UnmarshalTo(&m); err != nil {
		s.Err = err
		return s
	}
	var chain []byte
	switch {
	case m.GetTlsCertificate() != nil:
		s.Kind, chain = "Cert Chain", m.GetTlsCertificate().GetCertificateChain().GetInlineBytes()
	case m.GetValidationContext() != nil:
		s.Kind, chain = "CA", m.GetValidationContext().GetTrustedCa().GetInlineBytes()
	}
	block, _ := pem.Decode(chain)
	if block == nil {
		s.Err = fmt.Errorf("no certificate")
		return s
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		s.Err = err
		return s
	}
	s.Serial, s.NotBefore, s.NotAfter = fmt.Sprintf("%x", cert.SerialNumber), cert.NotBefore, cert.NotAfter
	return s
}

// WriteSecrets prints secrets as `istioctl proxy-config secret` does.
func (c *Config) WriteSecrets(w io.Writer, now time.Time) error {
	var rows [][]string
	for _, s := range c.Secrets {
		if s.Err != nil {
			rows = append(rows, []string{s.Name, s.Kind, s.State, "false", s.Err.Error(), "", ""})
			continue
		}
		valid := now.After(s.NotBefore) && now.Before(s.NotAfter)
		rows = append(rows, []string{s.Name, s.Kind, s.State, fmt.Sprint(valid), s.Serial,
			s.NotAfter.UTC().Format(time.RFC3339), s.NotBefore.UTC().Format(time.RFC3339)})
	}
	return table(w, "RESOURCE NAME|TYPE|STATUS|VALID CERT|SERIAL NUMBER|NOT AFTER|NOT BEFORE", rows)
}

// Roots gives the fingerprints of the certificates that the proxy trusts, sorted.
func Roots(text []byte) ([]string, error) {
	d, err := secretsDump(text)
	if err != nil {
		return nil, err
	}
	for _, x := range d.GetDynamicActiveSecrets() {
		if x.GetName() != "ROOTCA" {
			continue
		}
		var m tlsv3.Secret
		if err := x.GetSecret().UnmarshalTo(&m); err != nil {
			return nil, err
		}
		var prints []string
		rest := m.GetValidationContext().GetTrustedCa().GetInlineBytes()
		for {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				slices.Sort(prints)
				return slices.Compact(prints), nil
			}
			sum := sha256.Sum256(block.Bytes)
			prints = append(prints, hex.EncodeToString(sum[:]))
		}
	}
	return nil, errors.New("the proxy has no secret ROOTCA")
}
