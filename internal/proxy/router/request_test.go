package router

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

func TestRequestHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(always(200, "", "x-secret: 1", "x-lateen-delivery: none")))
		defer w.close()
		set := func(name, value string) config.HeaderOps {
			return config.HeaderOps{Add: []config.HeaderAdd{{Name: stream.N(name), Value: value, Action: config.OverwriteOrAdd}}}
		}
		route := w.route(func(f *config.Forward) {
			f.Timeout, f.PrefixRewrite, f.HostRewrite, f.AppendXFH = 3*time.Second, "/new/", "other.test", true
			f.Clusters[0].RequestHeaders = set("x-who", "cluster")
			f.Clusters[0].ResponseHeaders = config.HeaderOps{Remove: []stream.Name{stream.N("x-secret")}}
		})
		route.Match = config.RouteMatch{PathKind: config.PathPrefix, Path: "/old/"}
		route.RequestHeaders = []config.HeaderOps{set("x-who", "route")}
		route.AttemptCountRsp = true
		o := w.do(newStream("GET", "/old/a?b=c", ""), route)
		if o.status != 200 {
			t.Fatalf("%+v", o)
		}
		got := w.last()
		for name, want := range map[string]string{
			"x-who": "route", "x-envoy-original-path": "/old/a?b=c", "x-forwarded-host": "example.com",
			"x-envoy-expected-rq-timeout-ms": "3000",
		} {
			if v := got.Header.Get(name); v != want {
				t.Errorf("%s: %q, want %q", name, v, want)
			}
		}
		if got.RequestURI != "/new/a?b=c" || got.Host != "other.test" {
			t.Errorf("%s at %s", got.RequestURI, got.Host)
		}
		if o.head.Has(stream.N("x-secret")) || o.head.Has(fieldDelivery) || string(o.head.Get(stream.EnvoyAttemptCount)) != "1" {
			t.Error("response headers were not changed")
		}
	})
}

// TestOverrides: the request's own limits count inside the mesh, not at a gateway,
// and are not passed on.
func TestOverrides(t *testing.T) {
	for _, tc := range []struct {
		dir      stream.Direction
		requests int
		after    time.Duration
	}{{stream.Outbound, 4, 400 * time.Millisecond}, {stream.Gateway, 1, time.Second}} {
		t.Run(tc.dir.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, Options{}, serving(silent))
				defer w.close()
				s := newStream("GET", "/", "")
				s.Conn = &stream.Conn{Dir: tc.dir}
				s.Request.AddString(fieldRetryOn, "5xx,reset")
				s.Request.AddString(fieldMaxRetries, "3")
				s.Request.AddString(fieldPerTryTimeout, "100")
				start := time.Now()
				o := w.do(s, w.route(func(f *config.Forward) {
					f.Timeout = time.Second
					f.Retry = &config.Retry{BackoffBase: time.Nanosecond}
				}))
				if got := len(w.seen()); got != tc.requests || o.status != 504 {
					t.Errorf("%d requests, want %d; %+v", got, tc.requests, o)
				}
				if d := time.Since(start); d < tc.after || d > tc.after+50*time.Millisecond {
					t.Errorf("took %v, want %v", d, tc.after)
				}
				for k := range w.last().Header {
					if k := strings.ToLower(k); k != "user-agent" && k != "x-envoy-expected-rq-timeout-ms" && k != "host" {
						t.Errorf("%s was passed on", k)
					}
				}
			})
		})
	}
}

// TestRetryOnAlone: the shortest of the router's own fields is seen without others,
// and means one retry.
func TestRetryOnAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(always(500, "")))
		defer w.close()
		s := newStream("GET", "/", "")
		s.Request.AddRaw([]byte("X-Envoy-Retry-On"), []byte("5xx"))
		w.do(s, w.route(nil))
		if got := len(w.seen()); got != 2 || w.last().Header.Get("x-envoy-retry-on") != "" {
			t.Errorf("%d requests, headers %v", got, w.last().Header)
		}
	})
}

// broken is a body that the codec refuses.
type broken struct{ feed }

func (*broken) Next() ([]byte, error) {
	return nil, stream.Reason{Code: stream.DownstreamProtocol, Detail: "bad chunk"}
}
func (*broken) Buffered() (int, bool) { return 5, true }

func TestBrokenBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(always(200, "")))
		defer w.close()
		s := newStream("POST", "/", "")
		s.Request.Body, s.Request.Length = &broken{}, -1
		if o := w.do(s, w.route(nil)); o.status != 400 || o.code != stream.DownstreamProtocol || len(w.seen()) != 0 {
			t.Errorf("got %+v", o)
		}
	})
}

func TestAvoidPreviousHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(a netip.AddrPort, _ int) (endpoint, error) {
			if a == addrA {
				return always(503, "no"), nil
			}
			return always(200, "ok"), nil
		}, addrA, addrB)
		defer w.close()
		for range 20 {
			o := w.get(w.route(func(f *config.Forward) {
				f.Retry = &config.Retry{On: config.On5xx, Retries: 1, AvoidPrevious: true, HostAttempts: 5}
			}))
			if o.status != 200 {
				t.Fatalf("the retry went to the same endpoint: %+v", o)
			}
		}
	})
}

func TestHashCookie(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(always(200, "ok")), addrA, addrB)
		defer w.close()
		c := *w.cluster
		c.Policy, c.Hash, c.RingMin, c.RingMax = config.RingHash, 7, 1024, 1<<20
		if err := w.m.Apply([]*config.Cluster{&c}, nil); err != nil {
			t.Fatal(err)
		}
		ttl := time.Hour
		route := w.route(func(f *config.Forward) {
			f.HashPolicy = []config.HashPolicy{{Cookie: "sticky", CookieTTL: &ttl, CookiePath: "/"}}
		})
		o := w.get(route)
		ck := string(o.head.Get(stream.SetCookie))
		if !strings.HasPrefix(ck, `sticky="`) || !strings.HasSuffix(ck, `"; Max-Age=3600; Path=/; HttpOnly`) {
			t.Fatalf("cookie %q", ck)
		}
		value, _, _ := strings.Cut(ck, ";")
		for range 10 {
			s := newStream("GET", "/", "")
			s.Request.AddString(stream.Cookie, "a=b; "+value)
			next := w.do(s, route)
			if next.up.Host != o.up.Host || next.head.Has(stream.SetCookie) {
				t.Errorf("went to %v, not %v", next.up.Host, o.up.Host)
			}
		}
	})
}

// TestPeerSaysUnsent: the word of the peer's proxy makes a POST safe to repeat, if
// it came by mutual TLS; the proxy of the inbound side gives that word.
func TestPeerSaysUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(netip.AddrPort, int) (endpoint, error) { return nil, refused })
		defer w.close()
		for mutual, want := range map[bool]int{true: 1, false: 0} {
			s := newStream("POST", "/", "x")
			s.Conn = &stream.Conn{Dir: stream.Inbound, TLS: &stream.TLS{Mutual: mutual}}
			o := w.do(s, w.route(nil))
			if got := len(o.err.(*stream.Reply).Headers); got != want {
				t.Errorf("mutual %v: %d headers", mutual, got)
			}
		}
		w.serve = serving(always(503, "", "x-lateen-delivery: none"))
		w.do(newStream("POST", "/", "x"), w.route(func(f *config.Forward) {
			f.Retry = &config.Retry{On: config.On5xx, Retries: 2}
		}))
		if got := len(w.seen()); got != 1 {
			t.Errorf("a stranger's word was believed: %d requests", got)
		}
	})
}

func TestBackOff(t *testing.T) {
	p := policyOf(&config.Retry{BackoffBase: 25 * time.Millisecond, BackoffMax: 250 * time.Millisecond})
	for n, most := range []time.Duration{0, 25, 75, 175, 250, 250} {
		most *= time.Millisecond
		for _, r := range []uint64{0, 12345678901, 1<<64 - 1} {
			if d := p.backOff(n, r); n > 0 && (d < 0 || d >= most) {
				t.Errorf("retry %d: %v, want less than %v", n, d, most)
			}
		}
	}
}

func TestParse(t *testing.T) {
	b := NewBuilder(Options{})
	for name, m := range map[string]*routerv3.Router{
		"strict_check_headers":        {StrictCheckHeaders: []string{"x"}},
		"respect_expected_rq_timeout": {RespectExpectedRqTimeout: true},
	} {
		if _, err := b.Parse(typeURL, marshal(t, m)); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	cfg, err := b.Parse(typeURL, marshal(t, &routerv3.Router{SuppressEnvoyHeaders: true}))
	if err != nil || !cfg.(settings).suppressEnvoyHeaders {
		t.Errorf("%+v, %v", cfg, err)
	}
}
