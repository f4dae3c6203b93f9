package fault

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

func percent(n uint32) *typev3.FractionalPercent { return &typev3.FractionalPercent{Numerator: n} }

func delay(d time.Duration, p *typev3.FractionalPercent) *commonv3.FaultDelay {
	return &commonv3.FaultDelay{Percentage: p, FaultDelaySecifier: &commonv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(d)}}
}

func httpAbort(status uint32, p *typev3.FractionalPercent) *faultv3.FaultAbort {
	return &faultv3.FaultAbort{Percentage: p, ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: status}}
}

func grpcAbort(code uint32) *faultv3.FaultAbort {
	return &faultv3.FaultAbort{Percentage: percent(100), ErrorType: &faultv3.FaultAbort_GrpcStatus{GrpcStatus: code}}
}

type route struct{ override any }

func (route) RouteName() string    { return "r" }
func (r route) Override(i int) any { return r.override }

// run makes the filter of base, with the route's override if there is one, and
// sends a request through it.
type bench struct {
	t     *testing.T
	b     config.FilterBuilder
	stats Stats
	rnd   uint64
	chain stream.Chain
}

func newBench(t *testing.T, base *faultv3.HTTPFault) *bench {
	x := &bench{t: t}
	x.b = NewBuilder(Options{Rand: func() uint64 { return x.rnd }, Stats: &x.stats})
	f, err := x.b.New(x.parse(base), 3)
	if err != nil {
		t.Fatal(err)
	}
	x.chain = stream.Chain{f, passed{}}
	return x
}

func (x *bench) parse(m *faultv3.HTTPFault) any {
	raw, err := proto.Marshal(m)
	if err != nil {
		x.t.Fatal(err)
	}
	cfg, err := x.b.Parse(typeURL, raw)
	if err != nil {
		x.t.Fatal(err)
	}
	return cfg
}

type passed struct{}

func (passed) Handle(*stream.Stream, stream.Next) (*stream.Response, error) {
	return &stream.Response{Status: 200}, nil
}

func (x *bench) send(override any, headers ...string) (*stream.Stream, time.Duration, *stream.Reply) {
	s := &stream.Stream{Route: route{override}}
	s.Request.Method, s.Request.Path = []byte("GET"), []byte("/")
	for i := 0; i < len(headers); i += 2 {
		s.Request.AddString(stream.N(headers[i]), headers[i+1])
	}
	start := time.Now()
	_, err := x.chain.Handle(s)
	rep, _ := err.(*stream.Reply)
	return s, time.Since(start), rep
}

func TestFaults(t *testing.T) {
	empty := &faultv3.HTTPFault{}
	cases := []struct {
		name     string
		base     *faultv3.HTTPFault
		override *faultv3.HTTPFault
		rnd      uint64
		headers  []string
		delay    time.Duration
		status   int // 0: passed on
	}{
		{name: "nothing", base: empty},
		{name: "delay", base: &faultv3.HTTPFault{Delay: delay(7*time.Second, percent(100))}, delay: 7 * time.Second},
		{name: "abort", base: &faultv3.HTTPFault{Abort: httpAbort(500, percent(100))}, status: 500},
		{name: "delay, then abort", base: &faultv3.HTTPFault{Delay: delay(time.Second, percent(100)), Abort: httpAbort(555, percent(100))}, delay: time.Second, status: 555},
		{name: "route's own", base: empty, override: &faultv3.HTTPFault{Abort: httpAbort(400, percent(100))}, status: 400},
		{name: "route switches off", base: &faultv3.HTTPFault{Abort: httpAbort(400, percent(100))}, override: empty},
		{name: "share, hit", base: &faultv3.HTTPFault{Abort: httpAbort(500, percent(10))}, rnd: 9, status: 500},
		{name: "share, missed", base: &faultv3.HTTPFault{Abort: httpAbort(500, percent(10))}, rnd: 10},
		{name: "million, hit", base: &faultv3.HTTPFault{Abort: httpAbort(500, &typev3.FractionalPercent{Numerator: 500_000, Denominator: typev3.FractionalPercent_MILLION})}, rnd: 499_999, status: 500},
		{name: "million, missed", base: &faultv3.HTTPFault{Abort: httpAbort(500, &typev3.FractionalPercent{Numerator: 500_000, Denominator: typev3.FractionalPercent_MILLION})}, rnd: 500_000},
		{name: "gRPC abort, HTTP client", base: &faultv3.HTTPFault{Abort: grpcAbort(14)}, status: 503},
		{name: "gRPC abort, gRPC client", base: &faultv3.HTTPFault{Abort: grpcAbort(14)}, headers: []string{"content-type", "application/grpc"}, status: 200},
		{name: "header match, missing", base: gated(), status: 0},
		{name: "header match", base: gated(), headers: []string{"end-user", "jason"}, status: 500},
		{name: "by header", base: byHeader(), headers: []string{"x-envoy-fault-delay-request", "250", "x-envoy-fault-abort-request", "404"}, delay: 250 * time.Millisecond, status: 404},
		{name: "by header, less of it", base: byHeader(), headers: []string{"x-envoy-fault-abort-request", "404", "x-envoy-fault-abort-request-percentage", "5"}, rnd: 5},
		{name: "by header, not asked", base: byHeader()},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newBench(t, tc.base)
				x.rnd = tc.rnd
				var o any
				if tc.override != nil {
					o = x.parse(tc.override)
				}
				s, took, rep := x.send(o, tc.headers...)
				if took != tc.delay || s.Delayed != (tc.delay > 0) {
					t.Errorf("took %v, want %v", took, tc.delay)
				}
				status := 0
				if rep != nil {
					status = rep.Status
					if rep.Reason.Code != stream.FaultAbort || rep.Reason.Details() != "fault_filter_abort" || rep.Reason.Code.Flag() != "FI" {
						t.Errorf("reason %+v", rep.Reason)
					}
					if status != 200 && rep.Body != "fault filter abort" {
						t.Errorf("body %q", rep.Body)
					}
				}
				if status != tc.status {
					t.Errorf("status %d, want %d", status, tc.status)
				}
				if x.stats.ActiveFaults.Load() != 0 {
					t.Error("a fault stayed active")
				}
			})
		})
	}
}

func gated() *faultv3.HTTPFault {
	return &faultv3.HTTPFault{Abort: httpAbort(500, percent(100)), Headers: []*routev3.HeaderMatcher{{
		Name: "end-user", HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "jason"}}}}}}
}

func byHeader() *faultv3.HTTPFault {
	return &faultv3.HTTPFault{
		Delay: &commonv3.FaultDelay{Percentage: percent(100), FaultDelaySecifier: &commonv3.FaultDelay_HeaderDelay_{HeaderDelay: &commonv3.FaultDelay_HeaderDelay{}}},
		Abort: &faultv3.FaultAbort{Percentage: percent(100), ErrorType: &faultv3.FaultAbort_HeaderAbort_{HeaderAbort: &faultv3.FaultAbort_HeaderAbort{}}},
	}
}

func TestMaxActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBench(t, &faultv3.HTTPFault{Delay: delay(time.Minute, percent(100)), MaxActiveFaults: wrapperspb.UInt32(1)})
		done := make(chan time.Duration)
		go func() { _, d, _ := x.send(nil); done <- d }()
		synctest.Wait()
		if _, d, _ := x.send(nil); d != 0 || x.stats.FaultsOverflow.Load() != 1 {
			t.Errorf("the second was delayed by %v", d)
		}
		if d := <-done; d != time.Minute {
			t.Errorf("the first was delayed by %v", d)
		}
	})
}

// TestReset: a client that leaves ends the delay.
func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newBench(t, &faultv3.HTTPFault{Delay: delay(time.Minute, percent(100))})
		s := &stream.Stream{}
		time.AfterFunc(time.Second, func() { s.Reset(stream.Reason{Code: stream.DownstreamGone}) })
		start := time.Now()
		_, err := x.chain.Handle(s)
		if r, ok := err.(stream.Reason); !ok || r.Code != stream.DownstreamGone || time.Since(start) != time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestParseErrors(t *testing.T) {
	for want, m := range map[string]*faultv3.HTTPFault{
		"http_status 42":      {Abort: httpAbort(42, nil)},
		"grpc_status 17":      {Abort: grpcAbort(17)},
		"must be set":         {Abort: &faultv3.FaultAbort{}},
		"not positive":        {Delay: delay(0, nil)},
		"upstream_cluster":    {UpstreamCluster: "c"},
		"downstream_nodes":    {DownstreamNodes: []string{"a"}},
		"response_rate_limit": {ResponseRateLimit: &commonv3.FaultRateLimit{}},
		"name":                {Headers: []*routev3.HeaderMatcher{{}}},
	} {
		raw, err := proto.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parse(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", want, err)
		}
	}
}

// FuzzParse: whatever the control plane sends is parsed or refused, and what was
// parsed runs.
func FuzzParse(f *testing.F) {
	for _, m := range []*faultv3.HTTPFault{gated(), byHeader(), {Abort: grpcAbort(14)}, {Abort: httpAbort(500, percent(5))}} {
		raw, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	b := NewBuilder(Options{Rand: func() uint64 { return 0 }})
	f.Fuzz(func(t *testing.T, raw []byte) {
		cfg, err := b.Parse(typeURL, raw)
		if err != nil {
			return
		}
		c := *cfg.(*settings)
		c.delay = 0
		filter, err := b.New(&c, 0)
		if err != nil {
			t.Fatal(err)
		}
		s := &stream.Stream{}
		if _, err := (stream.Chain{filter, passed{}}).Handle(s); err != nil {
			if rep, ok := err.(*stream.Reply); !ok || rep.Status < 200 || rep.Status > 599 {
				t.Errorf("answer %v", err)
			}
		}
	})
}
