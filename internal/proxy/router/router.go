// Package router ends every HTTP filter chain: it redirects, answers itself, or
// forwards, with time-outs, retries, mirrors and upgrades.
//
// One goroutine, the stream's, carries an exchange: it acquires a connection, sends,
// awaits the answer and tries again. A body that does not arrive with the head is
// uploaded by a second goroutine while the first awaits the answer. Time-outs and
// resets cancel the step that the first one is in.
//
// Retries differ from Envoy's on purpose: a request that may have been delivered
// is only sent again if its method is idempotent (RFC 9110 §9.2.2), whatever the
// policy says, and one that was provably not delivered on a kept connection is
// sent again without a policy. What found nobody at its endpoint is tried again for
// a moment beyond its policy's retries, until the endpoints' news are there.
// Options.RetryUnsafe and Options.Patience give Envoy's results for the first and
// the last.
package router

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/timer"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
)

// DefaultReplay is how much of a request body is kept for another try or a mirror.
const DefaultReplay = 64 << 10

// Options is what routers work with.
type Options struct {
	Clusters *upstream.Manager // for cluster_header routes; nil answers those with no_cluster
	Timer    *timer.Queue      // nil: one of its own
	Log      *slog.Logger      // nil: slog.Default
	Now      func() time.Time
	Rand     func() uint64 // nil: math/rand/v2
	// Replay bounds what is kept of a body, in bytes; 0: DefaultReplay.
	Replay int
	// RetryUnsafe sends requests again that may have been delivered though their
	// method is not idempotent, where the policy's conditions say so: as Envoy does.
	RetryUnsafe bool
	// Patience is for how long a request that was provably not delivered is tried
	// again, with growing pauses, when the retries of its policy are used up; 0:
	// DefaultPatience, negative: not at all, as Envoy does.
	Patience time.Duration
}

// Name and type of the filter in configuration.
const (
	Name    = "envoy.filters.http.router"
	typeURL = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
)

type builder struct{ o Options }

// NewBuilder makes the builder of envoy.filters.http.router.
func NewBuilder(o Options) config.FilterBuilder {
	if o.Timer == nil {
		o.Timer = timer.NewQueue(0)
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	if o.Replay <= 0 {
		o.Replay = DefaultReplay
	}
	if o.Patience == 0 {
		o.Patience = DefaultPatience
	}
	return &builder{o}
}

// Name implements config.FilterBuilder.
func (b *builder) Name() string { return Name }

// TypeURLs implements config.FilterBuilder.
func (b *builder) TypeURLs() []string { return []string{typeURL} }

// settings are the filter's own configuration.
type settings struct{ suppressEnvoyHeaders bool }

// Parse implements config.FilterBuilder.
func (b *builder) Parse(_ string, value []byte) (any, error) {
	var m routerv3.Router
	if err := proto.Unmarshal(value, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	switch {
	case len(m.GetUpstreamLog()) > 0:
		return nil, errors.New(Name + ": upstream_log is not supported")
	case len(m.GetUpstreamHttpFilters()) > 0:
		return nil, errors.New(Name + ": upstream_http_filters is not supported")
	case len(m.GetStrictCheckHeaders()) > 0:
		return nil, errors.New(Name + ": strict_check_headers is not supported")
	case m.GetRespectExpectedRqTimeout():
		return nil, errors.New(Name + ": respect_expected_rq_timeout is not supported")
	}
	// start_child_span, dynamic_stats and the gRPC statistics change nothing that a
	// client or server sees.
	return settings{suppressEnvoyHeaders: m.GetSuppressEnvoyHeaders()}, nil
}

// ParseOverride implements config.FilterBuilder: the router has none.
func (b *builder) ParseOverride(string, []byte) (any, error) {
	return nil, errors.New(Name + ": a route cannot override the router")
}

// New implements config.FilterBuilder.
func (b *builder) New(cfg any, _ int) (stream.Filter, error) {
	set, ok := cfg.(settings)
	if !ok {
		return nil, fmt.Errorf("%s: configuration of type %T", Name, cfg)
	}
	r := &Router{o: b.o, set: set}
	r.calls.New = func() any { return newCall(r) }
	return r, nil
}

// Router is the filter. Safe for concurrent use.
type Router struct {
	o     Options
	set   settings
	calls sync.Pool // of *call
}

// Handle implements stream.Filter.
func (r *Router) Handle(s *stream.Stream, _ stream.Next) (*stream.Response, error) {
	route, _ := s.Route.(*config.Route)
	switch {
	case route == nil:
		return nil, stream.NewReply(0, stream.Reason{Code: stream.NoRoute, Detail: "no route matches"})
	case route.Redirect != nil:
		return nil, r.redirect(s, route)
	case route.Direct != nil:
		return nil, r.direct(route)
	case route.Forward == nil:
		return nil, stream.NewReply(0, stream.Reason{Code: stream.Internal, Detail: "route " + route.Name + " has no action"})
	}
	return r.forward(s, route)
}

func (r *Router) redirect(s *stream.Stream, route *config.Route) *stream.Reply {
	location := match.Location(nil, route, &s.Request)
	rep := stream.NewReply(route.Redirect.Status, stream.Reason{Code: stream.Redirect, Detail: "to " + string(location)})
	rep.Headers = [][2]string{{stream.Location.String(), string(location)}}
	return rep
}

func (r *Router) direct(route *config.Route) *stream.Reply {
	reason := stream.Reason{Code: stream.DirectResponse, Detail: "route " + route.Name}
	if why := route.Metadata.Reason; why != "" {
		reason = stream.Reason{Code: stream.ConfigInvalid, Detail: why}
	}
	rep := stream.NewReply(route.Direct.Status, reason)
	rep.Body = route.Direct.Body
	return rep
}

// forward starts an exchange with a destination.
func (r *Router) forward(s *stream.Stream, route *config.Route) (*stream.Response, error) {
	dest, h, err := r.destination(s, route)
	if err != nil {
		return nil, err
	}
	up := s.Request.Upgrade
	if string(s.Request.Method) == "CONNECT" {
		up = "connect" // as upgrade_configs name it
	}
	if up != "" && !upgradeAllowed(route.Forward, up) {
		return nil, stream.NewReply(403, stream.Reason{Code: stream.UnsupportedProtocol, Detail: "the route does not allow an upgrade to " + up})
	}
	c := r.calls.Get().(*call)
	c.start(s, route, dest, h)
	s.OnRecycle(c)
	return c.run()
}

// destination chooses the cluster, once per request.
func (r *Router) destination(s *stream.Stream, route *config.Route) (*config.WeightedCluster, *upstream.Handle, error) {
	fwd := route.Forward
	if fwd.ClusterHeader != nil {
		name := s.Request.Get(*fwd.ClusterHeader)
		if r.o.Clusters != nil && len(name) > 0 {
			if h, ok := r.o.Clusters.Lookup(name); ok {
				return nil, h, nil
			}
		}
		return nil, nil, noCluster(s, fwd, string(name))
	}
	dest := match.PickCluster(fwd, r.o.Rand(), nil)
	if dest == nil {
		return nil, nil, noCluster(s, fwd, "")
	}
	h, _ := dest.Cluster.Handle.(*upstream.Handle)
	if h == nil || h.Config() == nil {
		return nil, nil, noCluster(s, fwd, dest.Cluster.Name)
	}
	return dest, h, nil
}

func noCluster(s *stream.Stream, fwd *config.Forward, name string) *stream.Reply {
	s.Upstream.Cluster = name
	return stream.NewReply(fwd.NotFoundStatus, stream.Reason{
		Code: stream.NoCluster, Detail: fmt.Sprintf("the cluster %q does not exist, or has no endpoints yet", name)})
}

func upgradeAllowed(fwd *config.Forward, kind string) bool {
	if fwd.Upgrades == nil {
		return true // the connection manager's list was held already
	}
	for _, u := range fwd.Upgrades {
		if u == kind {
			return true
		}
	}
	return false
}
