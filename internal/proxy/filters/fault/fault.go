// Package fault injects delays and aborts: envoy.filters.http.fault
// (envoy.extensions.filters.http.fault.v3.HTTPFault).
package fault

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Options is what fault filters work with.
type Options struct {
	Rand func() uint64 // nil: math/rand/v2
	// Stats, if set, are counted by every filter of the builder.
	Stats *Stats
}

// Stats are the counters of the filter, under Envoy's names (http.*.fault.*).
type Stats struct {
	DelaysInjected, AbortsInjected, FaultsOverflow atomic.Uint64
	ActiveFaults                                   atomic.Int64
}

// Name is the filter's name.
const Name = "envoy.filters.http.fault"

// Fields of requests that ask for faults, where the configuration lets them.
var (
	fieldDelay        = stream.N("x-envoy-fault-delay-request")
	fieldDelayPercent = stream.N("x-envoy-fault-delay-request-percentage")
	fieldAbort        = stream.N("x-envoy-fault-abort-request")
	fieldAbortGRPC    = stream.N("x-envoy-fault-abort-grpc-request")
	fieldAbortPercent = stream.N("x-envoy-fault-abort-request-percentage")
)

type filter struct {
	cfg   *settings
	slot  int
	rand  func() uint64
	stats *Stats
}

// Handle implements stream.Filter: first the delay, then the abort, each decided
// by itself, as in Envoy.
func (f *filter) Handle(s *stream.Stream, next stream.Next) (*stream.Response, error) {
	cfg := f.cfg
	if s.Route != nil {
		if o, ok := s.Route.Override(f.slot).(*settings); ok {
			cfg = o
		}
	}
	if cfg.inert || !cfg.gate(s) {
		return next.Handle(s)
	}
	d, delay := f.delayOf(cfg, s)
	abort, aborts := f.abortOf(cfg, s)
	if !delay && !aborts {
		return next.Handle(s)
	}
	if n := f.stats.ActiveFaults.Add(1); n > int64(cfg.maxActive) {
		f.stats.ActiveFaults.Add(-1)
		f.stats.FaultsOverflow.Add(1)
		return next.Handle(s)
	}
	defer f.stats.ActiveFaults.Add(-1)
	if delay {
		s.Delayed = true
		f.stats.DelaysInjected.Add(1)
		if err := s.Sleep(d); err != nil {
			return nil, err
		}
	}
	if aborts {
		f.stats.AbortsInjected.Add(1)
		return nil, abort
	}
	return next.Handle(s)
}

// gate holds the configured header matches: all must match.
func (c *settings) gate(s *stream.Stream) bool {
	for i := range c.headers {
		if !match.HeaderMatches(&c.headers[i], &s.Request) {
			return false
		}
	}
	return true
}

// delayOf decides whether to delay, and for how long.
func (f *filter) delayOf(c *settings, s *stream.Stream) (time.Duration, bool) {
	d, share := c.delay, c.delayShare
	if c.delayByHeader {
		ms, ok := number(s.Request.Get(fieldDelay))
		if !ok {
			return 0, false
		}
		d = time.Duration(ms) * time.Millisecond
		share = share.capped(s.Request.Get(fieldDelayPercent))
	}
	return d, d > 0 && share.hit(f.rand)
}

// abortOf decides whether to abort, and with what.
func (f *filter) abortOf(c *settings, s *stream.Stream) (*stream.Reply, bool) {
	status, grpc, share := c.abortStatus, c.abortGRPC, c.abortShare
	if c.abortByHeader {
		n, isHTTP := number(s.Request.Get(fieldAbort))
		g, isGRPC := number(s.Request.Get(fieldAbortGRPC))
		switch {
		case isHTTP && n >= 200 && n < 600:
			status, grpc = int(n), -1
		case isGRPC && g <= 16:
			status, grpc = 0, int(g)
		default:
			return nil, false
		}
		share = share.capped(s.Request.Get(fieldAbortPercent))
	}
	if status == 0 && grpc < 0 || !share.hit(f.rand) {
		return nil, false
	}
	return abort(c, status, grpc, isGRPC(s)), true
}

// abort makes the local answer. A gRPC client gets its status in a head of status
// 200 (trailers only); an HTTP client that hits a gRPC abort gets the HTTP status
// that stands for it.
func abort(c *settings, status, grpc int, client bool) *stream.Reply {
	what := "status " + strconv.Itoa(status)
	if grpc >= 0 {
		status, what = httpOfGRPC(grpc), "gRPC status "+strconv.Itoa(grpc)
	}
	r := stream.NewReply(status, stream.Reason{Code: stream.FaultAbort, Detail: "injected " + what})
	if c.body != "" {
		r.Body = c.body
	}
	if client {
		if grpc < 0 {
			grpc = grpcOfHTTP(status)
		}
		r.Status = 200
		r.Headers = [][2]string{
			{stream.ContentType.String(), "application/grpc"},
			{stream.GRPCStatus.String(), strconv.Itoa(grpc)},
			{"grpc-message", r.Body},
		}
		r.Body = ""
	}
	return r
}

func isGRPC(s *stream.Stream) bool {
	ct := s.Request.Get(stream.ContentType)
	const grpc = "application/grpc"
	return len(ct) >= len(grpc) && string(ct[:len(grpc)]) == grpc && (len(ct) == len(grpc) || ct[len(grpc)] == '+' || ct[len(grpc)] == ';')
}

func number(v []byte) (uint64, bool) {
	if v == nil {
		return 0, false
	}
	n, err := strconv.ParseUint(string(v), 10, 32)
	return n, err == nil
}

// httpOfGRPC maps a gRPC status to the HTTP status that stands for it (gRPC's
// documented mapping, as Envoy uses it).
func httpOfGRPC(code int) int {
	switch code {
	case 0:
		return 200
	case 1:
		return 499
	case 3, 9, 11:
		return 400
	case 4:
		return 504
	case 5:
		return 404
	case 6, 10:
		return 409
	case 7:
		return 403
	case 8:
		return 429
	case 12:
		return 501
	case 14:
		return 503
	case 16:
		return 401
	}
	return 500
}

// grpcOfHTTP maps an HTTP status to a gRPC status (gRPC's "HTTP to gRPC status
// code mapping").
func grpcOfHTTP(status int) int {
	switch status {
	case 400:
		return 13
	case 401:
		return 16
	case 403:
		return 7
	case 404:
		return 12
	case 429, 502, 503, 504:
		return 14
	}
	return 2
}

// share is a FractionalPercent: n of of.
type share struct{ n, of uint64 }

// hit decides by chance, without a random number where there is none to take.
func (s share) hit(rnd func() uint64) bool {
	switch {
	case s.n == 0:
		return false
	case s.n >= s.of:
		return true
	}
	return rnd()%s.of < s.n
}

// capped lowers the share to what a request's own field asks for.
func (s share) capped(v []byte) share {
	if n, ok := number(v); ok {
		s.n = min(s.n, n)
	}
	return s
}

func (o Options) withDefaults() Options {
	if o.Rand == nil {
		o.Rand = rand.Uint64
	}
	if o.Stats == nil {
		o.Stats = new(Stats)
	}
	return o
}

// New implements config.FilterBuilder.
func (b *builder) New(cfg any, slot int) (stream.Filter, error) {
	c, ok := cfg.(*settings)
	if !ok {
		return nil, fmt.Errorf("%s: configuration of type %T", Name, cfg)
	}
	return &filter{cfg: c, slot: slot, rand: b.o.Rand, stats: b.o.Stats}, nil
}

var _ config.FilterBuilder = (*builder)(nil)
