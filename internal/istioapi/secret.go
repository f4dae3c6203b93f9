package istioapi

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// secret keeps the credentials that gateways can serve with: a certificate and its key
// (type kubernetes.io/tls, or Istio's generic form with cert and key), roots of clients'
// certificates (ca.crt, or cacert), or both.
func (r *reader) secret(o *api.Object, meta mesh.Meta, in *corev1.Secret) {
	if in.Type == corev1.SecretTypeServiceAccountToken {
		return // its roots are the cluster's own
	}
	cert, key := field(in, corev1.TLSCertKey, "cert"), field(in, corev1.TLSPrivateKeyKey, "key")
	ca := field(in, corev1.ServiceAccountRootCAKey, "cacert")
	if len(cert)+len(key)+len(ca) == 0 {
		return // not a credential; Secrets have many uses
	}
	out := mesh.Secret{Meta: meta, Namespace: o.Meta.Namespace, Name: o.Meta.Name, Cert: cert, Key: key, CA: ca, CRL: field(in, "ca.crl", "crl")}
	if len(cert)+len(key) > 0 {
		if _, err := tls.X509KeyPair(cert, key); err != nil {
			// The error of X509KeyPair says what is wrong, never the key's content.
			out.Invalid = err.Error()
		}
	}
	switch {
	case len(ca) > 0 && !holds(ca, "CERTIFICATE", func(b []byte) error { _, err := x509.ParseCertificate(b); return err }):
		out.Invalid = "the roots (ca.crt, cacert) are not certificates in PEM"
	case len(out.CRL) > 0 && !holds(out.CRL, "X509 CRL", func(b []byte) error { _, err := x509.ParseRevocationList(b); return err }):
		out.Invalid = "the revocation list (ca.crl, crl) is none in PEM"
	}
	if out.Invalid != "" {
		r.say(meta.Origin, verdict.Invalid, "not a usable TLS credential: %s", out.Invalid)
	}
	r.cfg.Secrets = append(r.cfg.Secrets, out)
}

// holds reports whether data are PEM blocks of one type that can be read, and no others.
func holds(data []byte, kind string, parse func([]byte) error) bool {
	for n := 0; ; n++ {
		block, rest := pem.Decode(data)
		if block == nil {
			return n > 0
		}
		if block.Type != kind || parse(block.Bytes) != nil {
			return false
		}
		data = rest
	}
}

// field reads the first of some keys from a Secret's data, or from its stringData,
// which replaces data where both are written.
func field(in *corev1.Secret, names ...string) []byte {
	for _, n := range names {
		if v := in.StringData[n]; v != "" {
			return []byte(v)
		}
		if v := in.Data[n]; len(v) > 0 {
			return v
		}
	}
	return nil
}
