package tlsctx

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"net/url"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// facts extracts what logs, headers and policies need from a handshake.
func facts(cs tls.ConnectionState, localURI string) *stream.TLS {
	f := &stream.TLS{
		ServerName: cs.ServerName,
		ALPN:       cs.NegotiatedProtocol,
		Version:    cs.Version,
		Cipher:     cs.CipherSuite,
		Resumed:    cs.DidResume,
		LocalURI:   localURI,
	}
	if len(cs.PeerCertificates) == 0 {
		return f
	}
	leaf := cs.PeerCertificates[0]
	f.Mutual = true
	for _, u := range leaf.URIs {
		f.PeerURIs = append(f.PeerURIs, u.String())
	}
	if len(f.PeerURIs) > 0 {
		f.PeerURI = f.PeerURIs[0]
	}
	f.PeerDNS = leaf.DNSNames
	f.PeerSubj = leaf.Subject.String() // RFC 2253 form
	f.Issuer = leaf.Issuer.String()
	f.PeerSerial = leaf.SerialNumber.Text(16)
	sum := sha256.Sum256(leaf.Raw)
	f.PeerHash = hex.EncodeToString(sum[:])
	return f
}

// encodedPEM is the URL-encoded PEM of XFCC's Cert element.
func encodedPEM(c *x509.Certificate) string {
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	return strings.ReplaceAll(url.QueryEscape(string(text)), "+", "%20")
}
