// Package grpcstats is envoy.filters.http.grpc_stats: it notes the status of gRPC
// calls, and where it is told to (emit_filter_state) counts their messages, in
// stream.Stream's GRPC. The telemetry of the mesh and access logs read it there.
//
// Envoy's own statistics per cluster and method, which the filter's other options
// are about, are not made: metrics here are the mesh's.
package grpcstats

import (
	"fmt"
	"sync"

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

// settings are the filter's configuration.
type settings struct{ count bool }

// Parse implements config.FilterBuilder.
func (builder) Parse(_ string, value []byte) (any, error) {
	var m statsv3.FilterConfig
	if err := proto.Unmarshal(value, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	return settings{count: m.GetEmitFilterState()}, nil
}

// ParseOverride implements config.FilterBuilder: Envoy's filter has none.
func (builder) ParseOverride(string, []byte) (any, error) {
	return nil, fmt.Errorf("%s: a route cannot override it", Name)
}

// New implements config.FilterBuilder.
func (builder) New(cfg any, _ int) (stream.Filter, error) {
	set, ok := cfg.(settings)
	if !ok {
		return nil, fmt.Errorf("%s: configuration of type %T", Name, cfg)
	}
	f := &filter{count: set.count}
	f.calls.New = func() any { return &call{filter: f} }
	return f, nil
}

// filter is safe for concurrent use.
type filter struct {
	count bool
	calls sync.Pool // of *call
}

// Handle implements stream.Filter.
func (f *filter) Handle(s *stream.Stream, next stream.Next) (*stream.Response, error) {
	if !stream.IsGRPC(s.Request.Get(stream.ContentType)) {
		return next.Handle(s)
	}
	s.GRPC.Call, s.GRPC.Counted = true, f.count
	c := f.calls.Get().(*call)
	c.grpc = &s.GRPC
	s.OnRecycle(c)
	if f.count && s.Request.Body != nil {
		c.request = counted{Body: s.Request.Body, n: &s.GRPC.RequestMessages}
		s.Request.Body = &c.request
	}
	resp, err := next.Handle(s)
	if err != nil || resp == nil {
		return resp, err
	}
	if v := resp.Get(stream.GRPCStatus); v != nil || resp.Body == nil {
		s.GRPC.Answer(v)
		return resp, nil
	}
	c.response = answer{counted: counted{Body: resp.Body}, grpc: c.grpc}
	if f.count {
		c.response.n = &s.GRPC.ResponseMessages
	}
	resp.Body = &c.response
	return resp, nil
}

// call is the memory of one call.
type call struct {
	filter   *filter
	grpc     *stream.GRPC
	request  counted
	response answer
}

// Recycle implements stream.Recycler.
func (c *call) Recycle() {
	c.grpc, c.request, c.response = nil, counted{}, answer{}
	c.filter.calls.Put(c)
}
