package build

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// requests sets what holds for the requests of all ports.
func (b *builder) requests(m *hcmv3.HttpConnectionManager) {
	r := &b.p.Requests
	m.NormalizePath = wrapperspb.Bool(r.Paths != ir.PathsAsTheyAre)
	m.MergeSlashes = r.Paths == ir.PathsMerged || r.Paths == ir.PathsDecoded
	m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_KEEP_UNCHANGED
	if r.Paths == ir.PathsDecoded {
		m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD
	}
	if r.NoRequestID {
		m.GenerateRequestId = wrapperspb.Bool(false)
	}
	m.AppendXForwardedPort = r.ForwardedPort
	if r.HTTP10 || r.PreserveCase {
		m.HttpProtocolOptions = b.http1()
	}
}

// http1 are the options of HTTP/1.1 towards clients.
func (b *builder) http1() *corev3.Http1ProtocolOptions {
	return &corev3.Http1ProtocolOptions{AcceptHttp_10: b.p.Requests.HTTP10, HeaderKeyFormat: b.keyFormat()}
}

func (b *builder) http1Upstream() *corev3.Http1ProtocolOptions {
	return &corev3.Http1ProtocolOptions{HeaderKeyFormat: b.keyFormat()}
}

// keyFormat keeps the case of names where that is asked for.
func (b *builder) keyFormat() *corev3.Http1ProtocolOptions_HeaderKeyFormat {
	if !b.p.Requests.PreserveCase {
		return nil
	}
	return &corev3.Http1ProtocolOptions_HeaderKeyFormat{HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{
		StatefulFormatter: &corev3.TypedExtensionConfig{
			Name: "envoy.http.stateful_header_formatters.preserve_case", TypedConfig: typed(&preservecasev3.PreserveCaseFormatterConfig{}),
		},
	}}
}

// server sets the header "server" of responses.
func (b *builder) server(m *hcmv3.HttpConnectionManager) {
	if b.p.Requests.NoServer {
		m.ServerHeaderTransformation = hcmv3.HttpConnectionManager_PASS_THROUGH
		return
	}
	m.ServerName = b.p.Requests.Server
}

// edge sets what a gateway believes of its clients.
func (b *builder) edge(m *hcmv3.HttpConnectionManager) {
	r := &b.p.Requests
	m.XffNumTrustedHops = r.TrustedHops
	m.ForwardClientCertDetails = clientCertMode(r.EdgeClientCert, hcmv3.HttpConnectionManager_SANITIZE_SET)
}

func clientCertMode(name string, def hcmv3.HttpConnectionManager_ForwardClientCertDetails) hcmv3.HttpConnectionManager_ForwardClientCertDetails {
	if v, ok := hcmv3.HttpConnectionManager_ForwardClientCertDetails_value[name]; ok {
		return hcmv3.HttpConnectionManager_ForwardClientCertDetails(v)
	}
	return def
}

// clientCert sets what a workload learns of the certificates of its clients.
func (b *builder) clientCert(m *hcmv3.HttpConnectionManager) {
	r := &b.p.Requests
	m.ForwardClientCertDetails = clientCertMode(r.ClientCert, hcmv3.HttpConnectionManager_APPEND_FORWARD)
	m.SetCurrentClientCertDetails = &hcmv3.HttpConnectionManager_SetCurrentClientCertDetails{
		Subject: wrapperspb.Bool(r.CertSubject), Cert: r.CertPEM, Dns: r.CertDNS, Uri: r.CertURI,
	}
}

// httpDetected are the protocols that are HTTP, of those that the HTTP inspector finds
// in plain text.
func (b *builder) httpDetected() []string {
	if b.p.Requests.HTTP10 {
		return []string{"http/1.0", "http/1.1", "h2c"}
	}
	return []string{"http/1.1", "h2c"}
}
