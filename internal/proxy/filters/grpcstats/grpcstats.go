// Package grpcstats accepts envoy.filters.http.grpc_stats. It counts the messages
// of gRPC calls, of which there are none before this proxy speaks HTTP/2: until
// then the filter is without effect, whatever its configuration.
package grpcstats

import (
	"fmt"

	statsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Name is the filter's name.
const Name = "envoy.filters.http.grpc_stats"

const typeURL = "type.googleapis.com/envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"

type builder struct{}

// NewBuilder makes the filter's builder.
func NewBuilder() config.FilterBuilder { return builder{} }

// Name implements config.FilterBuilder.
func (builder) Name() string { return Name }

// TypeURLs implements config.FilterBuilder.
func (builder) TypeURLs() []string { return []string{typeURL} }

// Parse implements config.FilterBuilder.
func (builder) Parse(_ string, value []byte) (any, error) {
	var m statsv3.FilterConfig
	if err := proto.Unmarshal(value, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	return struct{}{}, nil
}

// ParseOverride implements config.FilterBuilder: Envoy's filter has none.
func (builder) ParseOverride(string, []byte) (any, error) {
	return nil, fmt.Errorf("%s: a route cannot override it", Name)
}

// New implements config.FilterBuilder.
func (builder) New(any, int) (stream.Filter, error) { return pass{}, nil }

type pass struct{}

// Handle implements stream.Filter.
func (pass) Handle(s *stream.Stream, next stream.Next) (*stream.Response, error) {
	return next.Handle(s)
}
