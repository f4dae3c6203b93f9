package cors

import (
	"errors"
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

const (
	typeURL   = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"
	policyURL = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy"
)

type builder struct{}

// NewBuilder makes the filter's builder.
func NewBuilder() config.FilterBuilder { return builder{} }

// Name implements config.FilterBuilder.
func (builder) Name() string { return Name }

// TypeURLs implements config.FilterBuilder.
func (builder) TypeURLs() []string { return []string{typeURL, policyURL} }

// Parse implements config.FilterBuilder: the filter itself has no settings.
func (builder) Parse(url string, value []byte) (any, error) {
	if url == policyURL {
		return nil, errors.New(Name + ": a CorsPolicy belongs to a route")
	}
	var m corsv3.Cors
	if err := proto.Unmarshal(value, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		return nil, fmt.Errorf("%s: unknown fields", Name)
	}
	return struct{}{}, nil
}

// ParseOverride implements config.FilterBuilder.
func (builder) ParseOverride(url string, value []byte) (any, error) {
	if url != policyURL {
		return nil, errors.New(Name + ": a route has a CorsPolicy")
	}
	return parse(value)
}

// New implements config.FilterBuilder.
func (builder) New(_ any, slot int) (stream.Filter, error) { return filter{slot}, nil }

// policy is a parsed CorsPolicy.
type policy struct {
	off         bool // filter_enabled is 0 %
	origins     []config.StringMatch
	every       []bool // by origin: takes "*"
	methods     string
	headers     string
	expose      string
	maxAge      string
	credentials bool
	forward     bool // preflight requests of other origins go to the upstream
}

func parse(value []byte) (*policy, error) {
	var m corsv3.CorsPolicy
	if err := proto.Unmarshal(value, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	switch {
	case len(m.ProtoReflect().GetUnknown()) > 0:
		return nil, fmt.Errorf("%s: unknown fields", Name)
	case m.GetShadowEnabled() != nil:
		return nil, errors.New(Name + ": shadow_enabled is not supported")
	case m.GetAllowPrivateNetworkAccess() != nil:
		return nil, errors.New(Name + ": allow_private_network_access is not supported")
	}
	on, err := enabled(m.GetFilterEnabled())
	if err != nil {
		return nil, fmt.Errorf("%s: filter_enabled: %w", Name, err)
	}
	p := &policy{
		off:         !on,
		methods:     m.GetAllowMethods(),
		headers:     m.GetAllowHeaders(),
		expose:      m.GetExposeHeaders(),
		maxAge:      m.GetMaxAge(),
		credentials: m.GetAllowCredentials().GetValue(),
		forward:     m.GetForwardNotMatchingPreflights() == nil || m.GetForwardNotMatchingPreflights().GetValue(),
	}
	if p.origins, err = config.ParseStringMatches(Name, "allow_origin_string_match", m.GetAllowOriginStringMatch()); err != nil {
		return nil, err
	}
	for i := range p.origins {
		p.every = append(p.every, match.StringMatches(&p.origins[i], []byte("*")))
	}
	return p, nil
}

// enabled reads a share of the requests, of which only all and none are supported.
// The runtime key is without effect: this proxy has no runtime overrides.
func enabled(f *corev3.RuntimeFractionalPercent) (bool, error) {
	if f == nil {
		return true, nil
	}
	p := f.GetDefaultValue()
	whole := uint32(100)
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		whole = 10_000
	case typev3.FractionalPercent_MILLION:
		whole = 1_000_000
	}
	switch n := p.GetNumerator(); {
	case n == 0:
		return false, nil
	case n < whole:
		return false, errors.New("a share of the requests is not supported")
	}
	return true, nil
}
