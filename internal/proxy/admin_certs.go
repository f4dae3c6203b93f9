package proxy

import (
	"crypto/x509"
	"net/http"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// pageCerts lists the workload's certificate and its roots, with names and ages.
func (p *Proxy) pageCerts(w http.ResponseWriter, _ *http.Request) {
	c := &adminv3.Certificate{}
	if sec, ok := p.secrets.Secret("ROOTCA"); ok {
		for _, r := range sec.Roots {
			c.CaCert = append(c.CaCert, certDetails(r))
		}
	}
	if sec, ok := p.secrets.Secret("default"); ok && sec.Certificate != nil && sec.Certificate.Leaf != nil {
		c.CertChain = append(c.CertChain, certDetails(sec.Certificate.Leaf))
	}
	out := &adminv3.Certificates{}
	if len(c.CaCert)+len(c.CertChain) > 0 {
		out.Certificates = append(out.Certificates, c)
	}
	writeJSON(w, out)
}

func certDetails(c *x509.Certificate) *adminv3.CertificateDetails {
	d := &adminv3.CertificateDetails{
		SerialNumber: c.SerialNumber.Text(16), DaysUntilExpiration: uint64(max(time.Until(c.NotAfter)/(24*time.Hour), 0)),
		ValidFrom: timestamppb.New(c.NotBefore), ExpirationTime: timestamppb.New(c.NotAfter),
	}
	for _, u := range c.URIs {
		d.SubjectAltNames = append(d.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Uri{Uri: u.String()}})
	}
	for _, n := range c.DNSNames {
		d.SubjectAltNames = append(d.SubjectAltNames, &adminv3.SubjectAlternateName{Name: &adminv3.SubjectAlternateName_Dns{Dns: n}})
	}
	return d
}
