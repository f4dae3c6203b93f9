package config

import (
	"math"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// http reads an HTTP connection manager. Defaults are those of its API page.
func (p *parser) http(s *scope, dir stream.Direction, m *hcmv3.HttpConnectionManager) (*HTTP, error) {
	h := &HTTP{
		StatPrefix:        m.GetStatPrefix(),
		ServerName:        m.GetServerName(),
		UseRemoteAddress:  m.GetUseRemoteAddress().GetValue(),
		XFFTrustedHops:    int(m.GetXffNumTrustedHops()),
		ForwardedPort:     m.GetAppendXForwardedPort(),
		GenerateRequestID: boolOr(m.GetGenerateRequestId(), true),
		PreserveRequestID: m.GetPreserveExternalRequestId(),
		NormalizePath:     m.GetNormalizePath().GetValue(),
		MergeSlashes:      m.GetMergeSlashes(),
		StripPort:         m.GetStripAnyHostPort(),
		Proxy100Continue:  m.GetProxy_100Continue(),
		ClientCertSubject: m.GetSetCurrentClientCertDetails().GetSubject().GetValue(),
		ClientCertDNS:     m.GetSetCurrentClientCertDetails().GetDns(),
		ClientCertURI:     m.GetSetCurrentClientCertDetails().GetUri(),
		ClientCertPEM:     m.GetSetCurrentClientCertDetails().GetCert(),
	}
	if p := m.GetTracing().GetProvider(); p != nil {
		return nil, s.at("tracing").at("provider").unsupported()
	}
	for _, part := range []func(*scope, *HTTP, *hcmv3.HttpConnectionManager) error{
		parseModes, parseTimeouts, parseLimits, parseHTTP1, parseRequestID, parseUpgrades, p.parseRouting,
	} {
		if err := part(s, h, m); err != nil {
			return nil, err
		}
	}
	var err error
	if h.HTTP2, err = parseHTTP2(s.at("http2_protocol_options"), m.GetHttp2ProtocolOptions()); err != nil {
		return nil, err
	}
	if h.AccessLogs, err = parseAccessLogs(s, m.GetAccessLog(), false); err != nil {
		return nil, err
	}
	if err := p.httpFilters(s, dir, h, m.GetHttpFilters()); err != nil {
		return nil, err
	}
	return h, nil
}

// parseModes reads the enumerations.
func parseModes(s *scope, h *HTTP, m *hcmv3.HttpConnectionManager) error {
	switch m.GetCodecType() {
	case hcmv3.HttpConnectionManager_AUTO:
	case hcmv3.HttpConnectionManager_HTTP1:
		h.Codec = CodecHTTP1
	case hcmv3.HttpConnectionManager_HTTP2:
		h.Codec = CodecHTTP2
	default:
		return s.at("codec_type").errorf("%s is not supported by this proxy", m.GetCodecType())
	}
	switch m.GetServerHeaderTransformation() {
	case hcmv3.HttpConnectionManager_OVERWRITE:
	case hcmv3.HttpConnectionManager_PASS_THROUGH:
		h.PassServer = true
	default:
		return s.at("server_header_transformation").errorf("%s is not supported by this proxy", m.GetServerHeaderTransformation())
	}
	switch v := m.GetForwardClientCertDetails(); v {
	case hcmv3.HttpConnectionManager_SANITIZE:
		h.ClientCert = CertSanitize
	case hcmv3.HttpConnectionManager_FORWARD_ONLY:
		h.ClientCert = CertForwardOnly
	case hcmv3.HttpConnectionManager_APPEND_FORWARD:
		h.ClientCert = CertAppendForward
	case hcmv3.HttpConnectionManager_SANITIZE_SET:
		h.ClientCert = CertSanitizeSet
	case hcmv3.HttpConnectionManager_ALWAYS_FORWARD_ONLY:
		h.ClientCert = CertAlwaysForwardOnly
	default:
		return s.at("forward_client_cert_details").errorf("value %d is not known", v)
	}
	switch v := m.GetPathWithEscapedSlashesAction(); v {
	case hcmv3.HttpConnectionManager_IMPLEMENTATION_SPECIFIC_DEFAULT, hcmv3.HttpConnectionManager_KEEP_UNCHANGED:
		h.EscapedSlashes = SlashesKeep
	case hcmv3.HttpConnectionManager_REJECT_REQUEST:
		h.EscapedSlashes = SlashesReject
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT:
		h.EscapedSlashes = SlashesUnescapeRedirect
	case hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD:
		h.EscapedSlashes = SlashesUnescapeForward
	default:
		return s.at("path_with_escaped_slashes_action").errorf("value %d is not known", v)
	}
	return nil
}

func parseTimeouts(s *scope, h *HTTP, m *hcmv3.HttpConnectionManager) error {
	common := m.GetCommonHttpProtocolOptions()
	var err error
	if h.IdleTimeout, err = duration(s.at("common_http_protocol_options").at("idle_timeout"), common.GetIdleTimeout(), defaultIdle); err != nil {
		return err
	}
	if h.IdleTimeout == 0 {
		h.IdleTimeout = neverIdle
	}
	h.MaxConnDuration, err = duration(s.at("common_http_protocol_options").at("max_connection_duration"), common.GetMaxConnectionDuration(), 0)
	if err != nil {
		return err
	}
	if h.StreamIdleTimeout, err = duration(s.at("stream_idle_timeout"), m.GetStreamIdleTimeout(), 5*time.Minute); err != nil {
		return err
	}
	if h.RequestTimeout, err = duration(s.at("request_timeout"), m.GetRequestTimeout(), 0); err != nil {
		return err
	}
	if h.HeadersTimeout, err = duration(s.at("request_headers_timeout"), m.GetRequestHeadersTimeout(), 0); err != nil {
		return err
	}
	h.DrainTimeout, err = duration(s.at("drain_timeout"), m.GetDrainTimeout(), 5*time.Second)
	return err
}

func parseLimits(s *scope, h *HTTP, m *hcmv3.HttpConnectionManager) error {
	const maxKB = 8192 // Envoy's bound
	kb := uint32Or(m.GetMaxRequestHeadersKb(), 60)
	if kb == 0 || kb > maxKB {
		return s.at("max_request_headers_kb").errorf("%d is not in 1..%d", kb, maxKB)
	}
	h.MaxHeadBytes = int(kb) * 1024
	common, at := m.GetCommonHttpProtocolOptions(), s.at("common_http_protocol_options")
	n := uint32Or(common.GetMaxHeadersCount(), 100)
	if n == 0 || n > math.MaxUint16 {
		return at.at("max_headers_count").errorf("%d is not in 1..%d", n, math.MaxUint16)
	}
	h.MaxHeaders = int(n)
	if v := common.GetHeadersWithUnderscoresAction(); v != corev3.HttpProtocolOptions_ALLOW {
		return at.at("headers_with_underscores_action").errorf("%s is not supported by this proxy", v)
	}
	if common.GetMaxRequestsPerConnection().GetValue() != 0 {
		return at.at("max_requests_per_connection").unsupported()
	}
	return nil
}

func parseHTTP1(s *scope, h *HTTP, m *hcmv3.HttpConnectionManager) error {
	one, at := m.GetHttpProtocolOptions(), s.at("http_protocol_options")
	h.HTTP10, h.DefaultHost = one.GetAcceptHttp_10(), one.GetDefaultHostForHttp_10()
	return checkHeaderCase(at.at("header_key_format"), one.GetHeaderKeyFormat())
}

// checkHeaderCase accepts the formatter that keeps names as they came, which is
// what the codec does anyway.
func checkHeaderCase(s *scope, f *corev3.Http1ProtocolOptions_HeaderKeyFormat) error {
	switch v := f.GetHeaderFormat().(type) {
	case nil:
		return nil
	case *corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter:
		if v.StatefulFormatter.GetName() == "preserve_case" || v.StatefulFormatter.GetName() == "envoy.http.stateful_header_formatters.preserve_case" {
			return nil
		}
	}
	return s.unsupported()
}

func parseRequestID(s *scope, _ *HTTP, m *hcmv3.HttpConnectionManager) error {
	tc := m.GetRequestIdExtension().GetTypedConfig()
	if tc == nil {
		return nil
	}
	return unpack(s.at("request_id_extension").at("typed_config"), tc, &uuidv3.UuidRequestIdConfig{})
}

func parseUpgrades(s *scope, h *HTTP, m *hcmv3.HttpConnectionManager) error {
	for i, u := range m.GetUpgradeConfigs() {
		if u.GetUpgradeType() == "" {
			return s.item("upgrade_configs", i).at("upgrade_type").errorf("is empty")
		}
		if boolOr(u.GetEnabled(), true) {
			h.Upgrades = append(h.Upgrades, strings.ToLower(u.GetUpgradeType()))
		}
	}
	return nil
}

// parseRouting reads where routes come from.
func (p *parser) parseRouting(s *scope, h *HTTP, m *hcmv3.HttpConnectionManager) error {
	switch r := m.GetRouteSpecifier().(type) {
	case *hcmv3.HttpConnectionManager_Rds:
		h.RouteName = r.Rds.GetRouteConfigName()
		if h.RouteName == "" {
			return s.at("rds").at("route_config_name").errorf("is empty")
		}
	case *hcmv3.HttpConnectionManager_RouteConfig:
		var err error
		h.Inline, err = p.routeTable(s.at("route_config"), r.RouteConfig)
		return err
	default:
		return s.errorf("has neither rds nor route_config")
	}
	return nil
}

// httpFilters reads the filter chain of requests.
func (p *parser) httpFilters(s *scope, dir stream.Direction, h *HTTP, list []*hcmv3.HttpFilter) error {
	used := map[int]bool{}
	const router = "/envoy.extensions.filters.http.router.v3.Router"
	if n := len(list); n == 0 || !strings.HasSuffix(list[n-1].GetTypedConfig().GetTypeUrl(), router) {
		return s.at("http_filters").errorf("does not end with the router")
	}
	for i, f := range list {
		at := s.item("http_filters", i)
		if f.GetDisabled() {
			return at.at("disabled").unsupported()
		}
		e, err := unwrap(at.at("typed_config"), f.GetTypedConfig())
		if err != nil {
			return err
		}
		slot, b := p.filterFor(e.url)
		if e.short() == istioStats {
			if h.Stats, err = parseStats(at.at("typed_config"), dir, e); err != nil {
				return err
			}
			if b == nil {
				continue
			}
		}
		if b == nil {
			if f.GetIsOptional() {
				continue
			}
			return at.errorf("filter %q of type %s is not supported by this proxy", f.GetName(), e.short())
		}
		if used[slot] && !repeatable(b) {
			return at.errorf("a chain holds filter %s only once in this proxy", b.Name())
		}
		used[slot] = true
		cfg, err := b.Parse(e.url, e.value)
		if err != nil {
			return at.at("typed_config").errorf("%w", err)
		}
		h.Filters = append(h.Filters, HTTPFilter{Name: f.GetName(), Slot: slot, Builder: b, Config: cfg})
	}
	return nil
}

// filterFor finds a builder by the type of its configuration.
func (p *parser) filterFor(url string) (slot int, b FilterBuilder) {
	for i, b := range p.Filters {
		for _, u := range b.TypeURLs() {
			if u == url {
				return i, b
			}
		}
	}
	return -1, nil
}
