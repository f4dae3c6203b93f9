package build

import (
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// Names of the workload's own secrets, and of the cluster behind which the agent
// serves them. The native proxy has both in process.
const (
	workloadSecret = "default"
	rootsSecret    = "ROOTCA"
	sdsCluster     = "sds-grpc"
)

// cipherSuites are for TLS 1.2, as Istio sets them.
var cipherSuites = []string{
	"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
	"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256",
	"AES256-GCM-SHA384", "AES128-GCM-SHA256",
}

func fromAgent(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: sdsCluster},
			}}},
		}},
		InitialFetchTimeout: durationpb.New(0),
		ResourceApiVersion:  corev3.ApiVersion_V3,
	}}
}

// meshContext is the common part of both sides of mesh TLS: the workload's
// certificate, and peers that the mesh's roots vouch for and whose SAN matches.
func meshContext(sans []*matcherv3.StringMatcher, alpn []string, ciphers []string) *tlsv3.CommonTlsContext {
	return &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
			TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
			CipherSuites:              ciphers,
		},
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{fromAgent(workloadSecret)},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext:         &tlsv3.CertificateValidationContext{MatchSubjectAltNames: sans}, //nolint:staticcheck // what Istio sends
				ValidationContextSdsSecretConfig: fromAgent(rootsSecret),
			},
		},
		AlpnProtocols: alpn,
	}
}

func tlsSocket(cfg *anypb.Any) *corev3.TransportSocket {
	return &corev3.TransportSocket{Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: cfg}}
}

func plainSocket() *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.raw_buffer",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: typed(&rawbufferv3.RawBuffer{})},
	}
}

// meshServer ends mesh TLS: the caller shows a certificate of the trust domain. A
// stock Envoy does not agree to the exchange of metadata on TCP: it would take the
// caller's metadata for the connection's first bytes.
func (b *builder) meshServer(http bool) *corev3.TransportSocket {
	sans := []*matcherv3.StringMatcher{b.trustDomain()}
	alpn := serverALPN
	if !http && b.native() {
		alpn = slices.Concat([]string{"istio-peer-exchange"}, alpn)
	}
	return tlsSocket(typed(&tlsv3.DownstreamTlsContext{
		CommonTlsContext:         meshContext(sans, alpn, cipherSuites),
		RequireClientCertificate: wrapperspb.Bool(true),
	}))
}

// trustDomain matches the identities of the mesh.
func (b *builder) trustDomain() *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "spiffe://" + b.p.TrustDomain + "/"}}
}

// serverALPN is what servers agree to, the preferred first.
var serverALPN = []string{"h2", "http/1.1"}

// meshClient begins mesh TLS. The ALPN tells the callee's proxy what comes: mesh
// HTTP, or mesh TCP with an exchange of metadata, which a stock Envoy cannot do.
// Where the version of HTTP is known for each request only, the filter istio.alpn
// says it; a stock Envoy says "istio", and the first bytes tell the rest.
func (b *builder) meshClient(c *ir.Cluster) *corev3.TransportSocket {
	alpn := []string{"istio-peer-exchange", "istio"}
	switch {
	case c.Speaks == ir.HTTP2Only:
		alpn = []string{"istio-h2", "istio", "h2"}
	case c.App.HTTPish() && c.Speaks == ir.HTTP1Only:
		alpn = []string{"istio-http/1.1", "istio"}
	case c.App.HTTPish(), !b.native():
		alpn = []string{"istio"}
	}
	var sans []*matcherv3.StringMatcher
	for _, s := range c.SANs {
		sans = append(sans, &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s}})
	}
	return tlsSocket(typed(&tlsv3.UpstreamTlsContext{CommonTlsContext: meshContext(sans, alpn, nil), Sni: c.SNI}))
}
