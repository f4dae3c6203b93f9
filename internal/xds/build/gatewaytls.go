package build

import (
	"crypto/tls"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// gatewayServer ends TLS of clients at a gateway: with credentials of the mesh's
// configuration, which come over ADS, or with the workload's own.
func (b *builder) gatewayServer(t *ir.ServerTLS) *corev3.TransportSocket {
	if t.Mesh {
		sans := exactly(t.SANs)
		if len(sans) == 0 {
			sans = []*matcherv3.StringMatcher{b.trustDomain()}
		}
		common := meshContext(sans, serverALPN, cipherSuites)
		if p := tlsParams(t); p != nil {
			common.TlsParams = p
		}
		return tlsSocket(typed(&tlsv3.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: wrapperspb.Bool(true)}))
	}
	common := &tlsv3.CommonTlsContext{TlsParams: tlsParams(t), AlpnProtocols: serverALPN}
	for _, name := range t.Secrets {
		common.TlsCertificateSdsSecretConfigs = append(common.TlsCertificateSdsSecretConfigs, overADS(name))
	}
	if t.Roots != "" {
		common.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: &tlsv3.CertificateValidationContext{
					MatchSubjectAltNames:  exactly(t.SANs), //nolint:staticcheck // what Istio sends
					VerifyCertificateSpki: t.SPKIs, VerifyCertificateHash: t.Hashes,
				},
				ValidationContextSdsSecretConfig: overADS(t.Roots),
			},
		}
	}
	return tlsSocket(typed(&tlsv3.DownstreamTlsContext{CommonTlsContext: common, RequireClientCertificate: wrapperspb.Bool(t.Require)}))
}

func exactly(names []string) []*matcherv3.StringMatcher {
	var out []*matcherv3.StringMatcher
	for _, n := range names {
		out = append(out, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: n}})
	}
	return out
}

// tlsParams is nil where the data plane's defaults hold.
func tlsParams(t *ir.ServerTLS) *tlsv3.TlsParameters {
	if t.MinVersion == 0 && t.MaxVersion == 0 && len(t.Ciphers) == 0 {
		return nil
	}
	return &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: tlsVersion(t.MinVersion), TlsMaximumProtocolVersion: tlsVersion(t.MaxVersion), CipherSuites: t.Ciphers,
	}
}

func tlsVersion(v uint16) tlsv3.TlsParameters_TlsProtocol {
	switch v {
	case tls.VersionTLS10:
		return tlsv3.TlsParameters_TLSv1_0
	case tls.VersionTLS11:
		return tlsv3.TlsParameters_TLSv1_1
	case tls.VersionTLS12:
		return tlsv3.TlsParameters_TLSv1_2
	case tls.VersionTLS13:
		return tlsv3.TlsParameters_TLSv1_3
	}
	return tlsv3.TlsParameters_TLS_AUTO
}

func overADS(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}}
}

// secret is a gateway's credential, or the roots of its clients' certificates.
func secret(s *ir.Secret) *tlsv3.Secret {
	inline := func(p ir.Private) *corev3.DataSource {
		if len(p) == 0 {
			return nil
		}
		return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: slices.Clone(p)}}
	}
	if len(s.CA) > 0 {
		return &tlsv3.Secret{Name: s.Name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa: inline(s.CA), Crl: inline(s.CRL),
		}}}
	}
	return &tlsv3.Secret{Name: s.Name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline(s.Cert), PrivateKey: inline(s.Key),
	}}}
}
