// Package cors accepts envoy.filters.http.cors where it has nothing to do: Istio
// puts it into every chain. A CORS policy is refused until it is implemented.
package cors

import (
	"errors"
	"fmt"

	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Name is the filter's name.
const Name = "envoy.filters.http.cors"

const (
	typeURL   = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"
	policyURL = "type.googleapis.com/envoy.extensions.filters.http.cors.v3.CorsPolicy"
)

type builder struct{}

// NewBuilder makes the filter's builder.
func NewBuilder() config.FilterBuilder { return builder{} }

// Name implements config.FilterBuilder.
func (builder) Name() string { return Name }

// TypeURLs implements config.FilterBuilder. The policy of a route is among them so
// that it is refused by its name.
func (builder) TypeURLs() []string { return []string{typeURL, policyURL} }

// Parse implements config.FilterBuilder.
func (builder) Parse(url string, value []byte) (any, error) {
	var m corsv3.Cors
	if url == policyURL {
		return nil, errPolicy
	}
	if err := proto.Unmarshal(value, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	if len(m.ProtoReflect().GetUnknown()) > 0 {
		return nil, fmt.Errorf("%s: unknown fields", Name)
	}
	return struct{}{}, nil
}

var errPolicy = errors.New(Name + ": CORS policies are not supported by this proxy yet")

// ParseOverride implements config.FilterBuilder.
func (builder) ParseOverride(string, []byte) (any, error) { return nil, errPolicy }

// New implements config.FilterBuilder.
func (builder) New(any, int) (stream.Filter, error) { return pass{}, nil }

type pass struct{}

// Handle implements stream.Filter.
func (pass) Handle(s *stream.Stream, next stream.Next) (*stream.Response, error) {
	return next.Handle(s)
}
