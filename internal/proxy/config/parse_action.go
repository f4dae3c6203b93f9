package config

import (
	"math"
	"net/http"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// forward reads a route action.
func (p *parser) forward(s *scope, m *routev3.RouteAction, inherit *defaults) (*Forward, error) {
	f := &Forward{
		PrefixRewrite:   m.GetPrefixRewrite(),
		HostRewrite:     m.GetHostRewriteLiteral(),
		AutoHostRewrite: m.GetAutoHostRewrite().GetValue(),
		AppendXFH:       m.GetAppendXForwardedHost(),
		NotFoundStatus:  http.StatusServiceUnavailable,
		Mirrors:         inherit.mirrors,
		Retry:           inherit.retry,
	}
	if m.GetPriority() == corev3.RoutingPriority_HIGH {
		f.Priority = 1
	}
	switch m.GetClusterNotFoundResponseCode() {
	case routev3.RouteAction_NOT_FOUND:
		f.NotFoundStatus = http.StatusNotFound
	case routev3.RouteAction_INTERNAL_SERVER_ERROR:
		f.NotFoundStatus = http.StatusInternalServerError
	}
	var err error
	if err = p.destinations(s, f, m); err != nil {
		return nil, err
	}
	if rw := m.GetRegexRewrite(); rw != nil {
		if f.PrefixRewrite != "" {
			return nil, s.at("regex_rewrite").errorf("cannot be used together with prefix_rewrite")
		}
		if f.RegexRewrite, f.RegexRewriteSub, err = parseSubstitution(s.at("regex_rewrite"), rw); err != nil {
			return nil, err
		}
	}
	if err = parseRouteTimeouts(s, f, m); err != nil {
		return nil, err
	}
	if rp := m.GetRetryPolicy(); rp != nil {
		if f.Retry, err = parseRetry(s.at("retry_policy"), rp); err != nil {
			return nil, err
		}
	}
	if list, err := p.mirrors(s, m.GetRequestMirrorPolicies()); err != nil {
		return nil, err
	} else if list != nil {
		f.Mirrors = list
	}
	for i, u := range m.GetUpgradeConfigs() {
		if u.GetUpgradeType() == "" {
			return nil, s.item("upgrade_configs", i).at("upgrade_type").errorf("is empty")
		}
		if !boolOr(u.GetEnabled(), true) {
			return nil, s.item("upgrade_configs", i).at("enabled").errorf("false is not supported by this proxy")
		}
		f.Upgrades = append(f.Upgrades, strings.ToLower(u.GetUpgradeType()))
	}
	f.HashPolicy, err = parseHashPolicy(s, m.GetHashPolicy())
	return f, err
}

// destinations reads which clusters a route forwards to.
func (p *parser) destinations(s *scope, f *Forward, m *routev3.RouteAction) error {
	switch c := m.GetClusterSpecifier().(type) {
	case *routev3.RouteAction_Cluster:
		if c.Cluster == "" {
			return s.at("cluster").errorf("is empty")
		}
		f.Clusters = []WeightedCluster{{Cluster: p.cluster(c.Cluster), Weight: 1}}
		return nil
	case *routev3.RouteAction_ClusterHeader:
		if err := checkHeaderName(s.at("cluster_header"), c.ClusterHeader); err != nil {
			return err
		}
		name := stream.N(c.ClusterHeader)
		f.ClusterHeader = &name
		return nil
	case *routev3.RouteAction_WeightedClusters:
		return p.weighted(s.at("weighted_clusters"), f, c.WeightedClusters)
	}
	return s.errorf("names no cluster")
}

func (p *parser) weighted(s *scope, f *Forward, m *routev3.WeightedCluster) error {
	var sum uint64
	for i, c := range m.GetClusters() {
		at := s.item("clusters", i)
		if c.GetName() == "" {
			return at.at("name").errorf("is empty")
		}
		if c.GetWeight() == nil {
			return at.at("weight").errorf("is missing")
		}
		w := WeightedCluster{
			Cluster: p.cluster(c.GetName()), Weight: c.GetWeight().GetValue(), HostRewrite: c.GetHostRewriteLiteral(),
		}
		var err error
		if w.RequestHeaders, err = requestOps(at, c); err != nil {
			return err
		}
		if w.ResponseHeaders, err = responseOps(at, c); err != nil {
			return err
		}
		if w.Overrides, err = p.overrides(at, c.GetTypedPerFilterConfig(), nil); err != nil {
			return err
		}
		sum += uint64(w.Weight)
		f.Clusters = append(f.Clusters, w)
	}
	var err error
	if f.TotalWeight, err = totalWeight(s, sum); err != nil {
		return err
	}
	// Deprecated, and at its default of 100 in old configurations: it may only say
	// what the weights say.
	if t := m.GetTotalWeight(); t != nil && t.GetValue() != f.TotalWeight {
		return s.at("total_weight").errorf("%d is not the sum of the weights, %d", t.GetValue(), f.TotalWeight)
	}
	return nil
}

func totalWeight(s *scope, sum uint64) (uint32, error) {
	if sum == 0 || sum > math.MaxUint32 {
		return 0, s.errorf("the weights sum up to %d, not to 1..%d", sum, uint32(math.MaxUint32))
	}
	return uint32(sum), nil
}

func parseRouteTimeouts(s *scope, f *Forward, m *routev3.RouteAction) error {
	var err error
	// Envoy: "If not specified, the default is 15s … A value of 0 will disable".
	if f.Timeout, err = duration(s.at("timeout"), m.GetTimeout(), 15*time.Second); err != nil {
		return err
	}
	if f.IdleTimeout, err = duration(s.at("idle_timeout"), m.GetIdleTimeout(), 0); err != nil {
		return err
	}
	if m.GetIdleTimeout() != nil && f.IdleTimeout == 0 {
		f.IdleTimeout = neverIdle // an explicit 0 switches the connection manager's off
	}
	if f.GRPCTimeout, err = parseGRPCDeadline(s, "max_grpc_timeout", m.GetMaxGrpcTimeout(), "grpc_timeout_offset", m.GetGrpcTimeoutOffset()); err != nil {
		return err
	}
	whole, at := m.GetMaxStreamDuration(), s.at("max_stream_duration")
	if f.MaxDuration, err = duration(at.at("max_stream_duration"), whole.GetMaxStreamDuration(), 0); err != nil {
		return err
	}
	f.GRPCDuration, err = parseGRPCDeadline(at, "grpc_timeout_header_max", whole.GetGrpcTimeoutHeaderMax(), "grpc_timeout_header_offset", whole.GetGrpcTimeoutHeaderOffset())
	return err
}

// parseGRPCDeadline reads how grpc-timeout is honoured: not at all where the maximum
// is not given; one of 0 is no maximum.
func parseGRPCDeadline(s *scope, maxName string, limit *durationpb.Duration, offsetName string, offset *durationpb.Duration) (GRPCDeadline, error) {
	g := GRPCDeadline{On: limit != nil}
	var err error
	if g.Max, err = duration(s.at(maxName), limit, 0); err != nil {
		return g, err
	}
	g.Offset, err = duration(s.at(offsetName), offset, 0)
	return g, err
}

func (p *parser) mirrors(s *scope, list []*routev3.RouteAction_RequestMirrorPolicy) ([]Mirror, error) {
	var out []Mirror
	for i, m := range list {
		at := s.item("request_mirror_policies", i)
		if m.GetCluster() == "" {
			return nil, at.at("cluster").errorf("is empty")
		}
		mi := Mirror{Cluster: p.cluster(m.GetCluster()), Millionths: 1_000_000, KeepHost: m.GetDisableShadowHostSuffixAppend()}
		if f := m.GetRuntimeFraction(); f != nil {
			var err error
			if mi.Millionths, err = parseMillionths(at.at("runtime_fraction").at("default_value"), f.GetDefaultValue()); err != nil {
				return nil, err
			}
		}
		out = append(out, mi)
	}
	return out, nil
}

func parseHashPolicy(s *scope, list []*routev3.RouteAction_HashPolicy) ([]HashPolicy, error) {
	var out []HashPolicy
	var err error
	for i, m := range list {
		at := s.item("hash_policy", i)
		h := HashPolicy{Terminal: m.GetTerminal()}
		switch v := m.GetPolicySpecifier().(type) {
		case *routev3.RouteAction_HashPolicy_Header_:
			if err := checkToken(at.at("header").at("header_name"), strings.TrimPrefix(v.Header.GetHeaderName(), ":")); err != nil {
				return nil, err
			}
			name := stream.N(v.Header.GetHeaderName())
			h.Header = &name
		case *routev3.RouteAction_HashPolicy_Cookie_:
			h.Cookie, h.CookiePath = v.Cookie.GetName(), v.Cookie.GetPath()
			if h.CookieMore, err = cookieAttributes(at.at("cookie"), v.Cookie); err != nil {
				return nil, err
			}
			if v.Cookie.GetTtl() != nil {
				ttl, err := duration(at.at("cookie").at("ttl"), v.Cookie.GetTtl(), 0)
				if err != nil {
					return nil, err
				}
				h.CookieTTL = &ttl
			}
		case *routev3.RouteAction_HashPolicy_ConnectionProperties_:
			h.SourceIP = v.ConnectionProperties.GetSourceIp()
		case *routev3.RouteAction_HashPolicy_QueryParameter_:
			h.Query = v.QueryParameter.GetName()
		default:
			return nil, at.unsupported()
		}
		out = append(out, h)
	}
	return out, nil
}

// cookieAttributes writes the attributes of an issued cookie.
func cookieAttributes(s *scope, m *routev3.RouteAction_HashPolicy_Cookie) (string, error) {
	var b strings.Builder
	for i, a := range m.GetAttributes() {
		if a.GetName() == "" || strings.ContainsAny(a.GetName()+a.GetValue(), ";\r\n\x00") {
			return "", s.item("attributes", i).errorf("%q=%q is no attribute of a cookie", a.GetName(), a.GetValue())
		}
		b.WriteString("; " + a.GetName())
		if a.GetValue() != "" {
			b.WriteString("=" + a.GetValue())
		}
	}
	return b.String(), nil
}

func parseRedirect(s *scope, m *routev3.RedirectAction) (*Redirect, error) {
	r := &Redirect{
		Scheme: m.GetSchemeRedirect(), HTTPS: m.GetHttpsRedirect(), Host: m.GetHostRedirect(), Port: m.GetPortRedirect(),
		Path: m.GetPathRedirect(), Prefix: m.GetPrefixRewrite(), StripQuery: m.GetStripQuery(),
	}
	_, r.PrefixSet = m.GetPathRewriteSpecifier().(*routev3.RedirectAction_PrefixRewrite)
	if _, err := parsePort(s.at("port_redirect"), r.Port); err != nil {
		return nil, err
	}
	for field, v := range map[string]string{"scheme_redirect": r.Scheme, "host_redirect": r.Host, "path_redirect": r.Path, "prefix_rewrite": r.Prefix} {
		if strings.ContainsAny(v, "\r\n\x00") {
			return nil, s.at(field).errorf("holds a control character")
		}
	}
	switch m.GetResponseCode() {
	case routev3.RedirectAction_MOVED_PERMANENTLY:
		r.Status = http.StatusMovedPermanently
	case routev3.RedirectAction_FOUND:
		r.Status = http.StatusFound
	case routev3.RedirectAction_SEE_OTHER:
		r.Status = http.StatusSeeOther
	case routev3.RedirectAction_TEMPORARY_REDIRECT:
		r.Status = http.StatusTemporaryRedirect
	case routev3.RedirectAction_PERMANENT_REDIRECT:
		r.Status = http.StatusPermanentRedirect
	default:
		return nil, s.at("response_code").errorf("value %d is not known", m.GetResponseCode())
	}
	if rw := m.GetRegexRewrite(); rw != nil {
		var err error
		if r.Regex, r.RegexSub, err = parseSubstitution(s.at("regex_rewrite"), rw); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func parseDirect(s *scope, m *routev3.DirectResponseAction, maxBody uint32) (*Direct, error) {
	if m.GetStatus() < 200 || m.GetStatus() > 599 {
		return nil, s.at("status").errorf("%d is not in 200..599", m.GetStatus())
	}
	body, err := parseData(s.at("body"), m.GetBody())
	if err != nil {
		return nil, err
	}
	if uint64(len(body)) > uint64(maxBody) {
		return nil, s.at("body").errorf("has %d bytes, more than max_direct_response_body_size_bytes %d", len(body), maxBody)
	}
	return &Direct{Status: int(m.GetStatus()), Body: string(body)}, nil
}
