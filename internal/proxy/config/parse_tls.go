package config

import (
	"crypto/tls"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

// rawBuffer reports whether a transport socket is plain text.
func rawBuffer(s *scope, m *corev3.TransportSocket) (bool, error) {
	switch {
	case m == nil:
		return true, nil
	case m.GetTypedConfig() == nil && m.GetName() == "envoy.transport_sockets.raw_buffer":
		return true, nil
	}
	e, err := unwrap(s.at("typed_config"), m.GetTypedConfig())
	if err != nil || e.short() != "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer" {
		return false, err
	}
	return true, e.into(s.at("typed_config"), &rawbufferv3.RawBuffer{})
}

// parseDownstreamSocket reads a chain's transport socket; nil is plain text.
func parseDownstreamSocket(s *scope, m *corev3.TransportSocket) (*DownstreamTLS, error) {
	if raw, err := rawBuffer(s, m); raw || err != nil {
		return nil, err
	}
	s = s.at("typed_config")
	tm := &tlsv3.DownstreamTlsContext{}
	if err := unpack(s, m.GetTypedConfig(), tm); err != nil {
		return nil, err
	}
	out := &DownstreamTLS{RequireClient: tm.GetRequireClientCertificate().GetValue()}
	if tm.GetOcspStaplePolicy() != tlsv3.DownstreamTlsContext_LENIENT_STAPLING {
		return nil, s.at("ocsp_staple_policy").errorf("%s is not supported by this proxy", tm.GetOcspStaplePolicy())
	}
	var err error
	s = s.at("common_tls_context")
	// Envoy's defaults for servers: TLS 1.2 to 1.3.
	if out.Common, err = parseCommonTLS(s, tm.GetCommonTlsContext(), tls.VersionTLS13); err != nil {
		return nil, err
	}
	if len(out.Common.Certificates) == 0 {
		return nil, s.errorf("has no certificate")
	}
	return out, nil
}

// parseUpstreamSocket reads a cluster's transport socket; nil is plain text.
func parseUpstreamSocket(s *scope, m *corev3.TransportSocket) (*UpstreamTLS, error) {
	if raw, err := rawBuffer(s, m); raw || err != nil {
		return nil, err
	}
	s = s.at("typed_config")
	tm := &tlsv3.UpstreamTlsContext{}
	if err := unpack(s, m.GetTypedConfig(), tm); err != nil {
		return nil, err
	}
	out := &UpstreamTLS{
		SNI: tm.GetSni(), AutoSNI: tm.GetAutoHostSni(), Renegotiate: tm.GetAllowRenegotiation(),
		MaxSessions: int(uint32Or(tm.GetMaxSessionKeys(), 1)),
	}
	var err error
	// Envoy's defaults for clients: TLS 1.2 only.
	out.Common, err = parseCommonTLS(s.at("common_tls_context"), tm.GetCommonTlsContext(), tls.VersionTLS12)
	return out, err
}

func parseCommonTLS(s *scope, m *tlsv3.CommonTlsContext, maxDefault uint16) (CommonTLS, error) {
	c := CommonTLS{ALPN: m.GetAlpnProtocols()}
	if err := parseTLSParams(s.at("tls_params"), m.GetTlsParams(), maxDefault, &c); err != nil {
		return c, err
	}
	for i, cert := range m.GetTlsCertificates() {
		at := s.item("tls_certificates", i)
		chain, err := parseData(at.at("certificate_chain"), cert.GetCertificateChain())
		if err != nil {
			return c, err
		}
		key, err := parseData(at.at("private_key"), cert.GetPrivateKey())
		if err != nil {
			return c, err
		}
		if len(chain) == 0 || len(key) == 0 {
			return c, at.errorf("needs a certificate chain and a private key")
		}
		c.Certificates = append(c.Certificates, SecretRef{Cert: chain, Key: key})
	}
	for i, sds := range m.GetTlsCertificateSdsSecretConfigs() {
		ref, err := parseSecretRef(s.item("tls_certificate_sds_secret_configs", i), sds)
		if err != nil {
			return c, err
		}
		c.Certificates = append(c.Certificates, ref)
	}
	return c, parseValidationKind(s, m, &c)
}

func parseValidationKind(s *scope, m *tlsv3.CommonTlsContext, c *CommonTLS) error {
	var err error
	switch v := m.GetValidationContextType().(type) {
	case *tlsv3.CommonTlsContext_ValidationContext:
		return parseValidation(s.at("validation_context"), v.ValidationContext, c)
	case *tlsv3.CommonTlsContext_ValidationContextSdsSecretConfig:
		c.Validation, err = parseSecretRef(s.at("validation_context_sds_secret_config"), v.ValidationContextSdsSecretConfig)
	case *tlsv3.CommonTlsContext_CombinedValidationContext:
		at := s.at("combined_validation_context")
		if err = parseValidation(at.at("default_validation_context"), v.CombinedValidationContext.GetDefaultValidationContext(), c); err != nil {
			return err
		}
		ref, err := parseSecretRef(at.at("validation_context_sds_secret_config"), v.CombinedValidationContext.GetValidationContextSdsSecretConfig())
		if err != nil {
			return err
		}
		c.Validation.Name, c.Validation.FromADS = ref.Name, ref.FromADS
	}
	return err
}

func parseSecretRef(s *scope, m *tlsv3.SdsSecretConfig) (SecretRef, error) {
	if m.GetName() == "" {
		return SecretRef{}, s.at("name").errorf("is empty")
	}
	ref := SecretRef{Name: m.GetName()}
	switch m.GetSdsConfig().GetConfigSourceSpecifier().(type) {
	case nil, *corev3.ConfigSource_ApiConfigSource: // the agent
	case *corev3.ConfigSource_Ads, *corev3.ConfigSource_Self:
		ref.FromADS = true
	default:
		return ref, s.at("sds_config").unsupported()
	}
	return ref, nil
}

func parseValidation(s *scope, m *tlsv3.CertificateValidationContext, c *CommonTLS) error {
	var err error
	if c.Validation.CA, err = parseData(s.at("trusted_ca"), m.GetTrustedCa()); err != nil {
		return err
	}
	if c.CRLs, err = parseData(s.at("crl"), m.GetCrl()); err != nil {
		return err
	}
	for i, sm := range m.GetMatchSubjectAltNames() {
		san, err := parseString(s.item("match_subject_alt_names", i), sm)
		if err != nil {
			return err
		}
		c.SANs = append(c.SANs, san)
	}
	c.SPKI, c.CertHashes = m.GetVerifyCertificateSpki(), m.GetVerifyCertificateHash()
	c.AllowExpired = m.GetAllowExpiredCertificate()
	c.InsecureSkipVerify = m.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
	return nil
}

func parseTLSParams(s *scope, m *tlsv3.TlsParameters, maxDefault uint16, c *CommonTLS) error {
	var err error
	if c.MinVersion, err = tlsVersion(s.at("tls_minimum_protocol_version"), m.GetTlsMinimumProtocolVersion(), tls.VersionTLS12); err != nil {
		return err
	}
	if c.MaxVersion, err = tlsVersion(s.at("tls_maximum_protocol_version"), m.GetTlsMaximumProtocolVersion(), maxDefault); err != nil {
		return err
	}
	if c.MinVersion > c.MaxVersion {
		return s.errorf("the minimum version is above the maximum")
	}
	for i, name := range m.GetCipherSuites() {
		id, ok := ciphers[name]
		if !ok {
			return s.item("cipher_suites", i).errorf("%q is not supported by this proxy", name)
		}
		c.Ciphers = append(c.Ciphers, id)
	}
	return nil
}

func tlsVersion(s *scope, v tlsv3.TlsParameters_TlsProtocol, auto uint16) (uint16, error) {
	switch v {
	case tlsv3.TlsParameters_TLS_AUTO:
		return auto, nil
	case tlsv3.TlsParameters_TLSv1_0:
		return tls.VersionTLS10, nil
	case tlsv3.TlsParameters_TLSv1_1:
		return tls.VersionTLS11, nil
	case tlsv3.TlsParameters_TLSv1_2:
		return tls.VersionTLS12, nil
	case tlsv3.TlsParameters_TLSv1_3:
		return tls.VersionTLS13, nil
	}
	return 0, s.errorf("value %d is not known", v)
}

// ciphers are BoringSSL's names of the suites that crypto/tls has; TLS 1.3 suites
// cannot be chosen on either side.
var ciphers = map[string]uint16{
	"ECDHE-ECDSA-AES128-GCM-SHA256": tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-RSA-AES128-GCM-SHA256":   tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	"ECDHE-ECDSA-AES256-GCM-SHA384": tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-RSA-AES256-GCM-SHA384":   tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	"ECDHE-ECDSA-CHACHA20-POLY1305": tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-RSA-CHACHA20-POLY1305":   tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	"ECDHE-ECDSA-AES128-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA,
	"ECDHE-RSA-AES128-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
	"ECDHE-ECDSA-AES256-SHA":        tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
	"ECDHE-RSA-AES256-SHA":          tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	"AES128-GCM-SHA256":             tls.TLS_RSA_WITH_AES_128_GCM_SHA256,
	"AES256-GCM-SHA384":             tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
	"AES128-SHA":                    tls.TLS_RSA_WITH_AES_128_CBC_SHA,
	"AES256-SHA":                    tls.TLS_RSA_WITH_AES_256_CBC_SHA,
}
