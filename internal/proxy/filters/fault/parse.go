package fault

import (
	"errors"
	"fmt"
	"math"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

const typeURL = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault"

type builder struct{ o Options }

// NewBuilder makes the builder of envoy.filters.http.fault.
func NewBuilder(o Options) config.FilterBuilder { return &builder{o.withDefaults()} }

// Name implements config.FilterBuilder.
func (b *builder) Name() string { return Name }

// TypeURLs implements config.FilterBuilder.
func (b *builder) TypeURLs() []string { return []string{typeURL} }

// Parse implements config.FilterBuilder.
func (b *builder) Parse(_ string, value []byte) (any, error) { return parse(value) }

// ParseOverride implements config.FilterBuilder: a route's configuration replaces
// the listener's as a whole.
func (b *builder) ParseOverride(_ string, value []byte) (any, error) { return parse(value) }

// settings are a parsed HTTPFault.
type settings struct {
	inert         bool // neither delay nor abort
	headers       []config.HeaderMatch
	delay         time.Duration
	delayByHeader bool
	delayShare    share
	abortStatus   int // 0: none
	abortGRPC     int // -1: none
	abortByHeader bool
	abortShare    share
	body          string
	maxActive     uint32
}

func parse(value []byte) (*settings, error) {
	var m faultv3.HTTPFault
	if err := proto.Unmarshal(value, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	switch {
	case m.GetUpstreamCluster() != "":
		return nil, errors.New(Name + ": upstream_cluster is not supported: configure the fault at the route")
	case len(m.GetDownstreamNodes()) > 0:
		return nil, errors.New(Name + ": downstream_nodes is not supported")
	case m.GetResponseRateLimit() != nil:
		return nil, errors.New(Name + ": response_rate_limit is not supported")
	}
	// The *_runtime names are without effect: this proxy has no runtime overrides.
	c := &settings{abortGRPC: -1, maxActive: math.MaxInt32}
	if v := m.GetMaxActiveFaults(); v != nil {
		c.maxActive = v.GetValue()
	}
	var err error
	if c.headers, err = config.ParseHeaderMatches(Name, m.GetHeaders()); err != nil {
		return nil, err
	}
	if err := c.parseDelay(m.GetDelay()); err != nil {
		return nil, fmt.Errorf("%s: delay: %w", Name, err)
	}
	if err := c.parseAbort(m.GetAbort()); err != nil {
		return nil, fmt.Errorf("%s: abort: %w", Name, err)
	}
	c.inert = m.GetDelay() == nil && m.GetAbort() == nil
	return c, nil
}

func (c *settings) parseDelay(d *commonv3.FaultDelay) (err error) {
	if d == nil {
		return nil
	}
	if c.delayShare, err = fraction(d.GetPercentage()); err != nil {
		return err
	}
	if d.GetHeaderDelay() != nil {
		c.delayByHeader = true
		return nil
	}
	fixed := d.GetFixedDelay()
	if fixed == nil {
		return errors.New("fixed_delay or header_delay must be set")
	}
	if c.delay = fixed.AsDuration(); c.delay <= 0 {
		return fmt.Errorf("fixed_delay of %v is not positive", c.delay)
	}
	return nil
}

func (c *settings) parseAbort(a *faultv3.FaultAbort) (err error) {
	if a == nil {
		return nil
	}
	c.body = a.GetResponseBody()
	if c.abortShare, err = fraction(a.GetPercentage()); err != nil {
		return err
	}
	switch v := a.GetErrorType().(type) {
	case *faultv3.FaultAbort_HttpStatus:
		if v.HttpStatus < 200 || v.HttpStatus > 599 {
			return fmt.Errorf("http_status %d is not between 200 and 599", v.HttpStatus)
		}
		c.abortStatus = int(v.HttpStatus)
	case *faultv3.FaultAbort_GrpcStatus:
		if v.GrpcStatus > 16 {
			return fmt.Errorf("grpc_status %d is not a gRPC status", v.GrpcStatus)
		}
		c.abortGRPC = int(v.GrpcStatus)
	case *faultv3.FaultAbort_HeaderAbort_:
		c.abortByHeader = true
	default:
		return errors.New("http_status, grpc_status or header_abort must be set")
	}
	return nil
}

// fraction reads a percentage; an unset one is 0 %, as in Envoy.
func fraction(p *typev3.FractionalPercent) (share, error) {
	s := share{n: uint64(p.GetNumerator())}
	switch p.GetDenominator() {
	case typev3.FractionalPercent_HUNDRED:
		s.of = 100
	case typev3.FractionalPercent_TEN_THOUSAND:
		s.of = 10_000
	case typev3.FractionalPercent_MILLION:
		s.of = 1_000_000
	default:
		return s, fmt.Errorf("percentage: unknown denominator %v", p.GetDenominator())
	}
	return s, nil
}
