package cors

import (
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

func exact(v string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: v}}
}

func encode(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// answerTo runs a request through the filter with a policy; the upstream's status is
// 204, and it allows an origin of its own.
func answerTo(t *testing.T, p *corsv3.CorsPolicy, r *config.Route, method string, fields ...string) *stream.Response {
	t.Helper()
	b := NewBuilder()
	f, err := b.New(nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	o, err := b.ParseOverride(policyURL, encode(t, p))
	if err != nil {
		t.Fatal(err)
	}
	r.Overrides = []any{o}
	s := &stream.Stream{Route: r}
	s.Request.Method = []byte(method)
	for i := 0; i < len(fields); i += 2 {
		s.Request.AddString(stream.N(fields[i]), fields[i+1])
	}
	end := stream.HandlerFunc(func(*stream.Stream) (*stream.Response, error) {
		resp := &stream.Response{Status: 204}
		resp.AddString(fieldAllowOrigin, "upstream")
		return resp, nil
	})
	resp, err := stream.Chain{f, last{end}}.Handle(s)
	if err != nil {
		if resp, err = stream.Answer(err); err != nil {
			t.Fatal(err)
		}
	}
	return resp
}

type last struct{ h stream.Handler }

func (l last) Handle(s *stream.Stream, _ stream.Next) (*stream.Response, error) { return l.h.Handle(s) }

func TestPolicy(t *testing.T) {
	full := &corsv3.CorsPolicy{
		AllowOriginStringMatch: []*matcherv3.StringMatcher{exact("https://a.test")},
		AllowMethods:           "GET,POST", AllowHeaders: "x-a", ExposeHeaders: "x-b", MaxAge: "60", AllowCredentials: wrapperspb.Bool(true),
	}
	ignoring := proto.Clone(full).(*corsv3.CorsPolicy)
	ignoring.ForwardNotMatchingPreflights = wrapperspb.Bool(false)
	off := proto.Clone(full).(*corsv3.CorsPolicy)
	off.FilterEnabled = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{}}
	star := &corsv3.CorsPolicy{AllowOriginStringMatch: []*matcherv3.StringMatcher{exact("*")}}
	const ask = "access-control-request-method"
	for name, c := range map[string]struct {
		policy *corsv3.CorsPolicy
		direct bool
		method string
		fields []string
		status int
		want   string // access-control-* of the answer
	}{
		"preflight":                {full, false, "OPTIONS", []string{"origin", "https://a.test", ask, "PUT"}, 200, "allow-origin=https://a.test expose-headers=x-b allow-credentials=true allow-methods=GET,POST allow-headers=x-a max-age=60"},
		"preflight, other":         {full, false, "OPTIONS", []string{"origin", "https://b.test", ask, "PUT"}, 204, "allow-origin=upstream"},
		"preflight, other ignored": {ignoring, false, "OPTIONS", []string{"origin", "https://b.test", ask, "PUT"}, 200, "allow-credentials=true allow-methods=GET,POST allow-headers=x-a max-age=60"},
		"options":                  {full, false, "OPTIONS", []string{"origin", "https://a.test"}, 204, "allow-origin=https://a.test allow-credentials=true expose-headers=x-b"},
		"request":                  {full, false, "GET", []string{"origin", "https://a.test", ask, "PUT"}, 204, "allow-origin=https://a.test allow-credentials=true expose-headers=x-b"},
		"request, other":           {ignoring, false, "GET", []string{"origin", "https://b.test"}, 204, "allow-origin=upstream"},
		"no origin":                {full, false, "OPTIONS", []string{ask, "PUT"}, 204, "allow-origin=upstream"},
		"any origin":               {star, false, "GET", []string{"origin", "null"}, 204, "allow-origin=null"},
		"off":                      {off, false, "OPTIONS", []string{"origin", "https://a.test", ask, "PUT"}, 204, "allow-origin=upstream"},
		"direct response":          {full, true, "OPTIONS", []string{"origin", "https://a.test", ask, "PUT"}, 204, "allow-origin=upstream"},
	} {
		r := &config.Route{Forward: &config.Forward{}}
		if c.direct {
			r = &config.Route{Direct: &config.Direct{}}
		}
		resp := answerTo(t, c.policy, r, c.method, c.fields...)
		var got []string
		for name, value := range resp.All() {
			if n, ok := strings.CutPrefix(string(name), "access-control-"); ok {
				got = append(got, n+"="+string(value))
			}
		}
		if resp.Status != c.status || strings.Join(got, " ") != c.want {
			t.Errorf("%s: %d %q, want %d %q", name, resp.Status, got, c.status, c.want)
		}
	}
}

// TestRefused: what the filter cannot do is refused, with its name.
func TestRefused(t *testing.T) {
	b := NewBuilder()
	part := &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 50}}
	for what, try := range map[string]func() (any, error){
		"policy of a listener": func() (any, error) { return b.Parse(policyURL, nil) },
		"filter of a route":    func() (any, error) { return b.ParseOverride(typeURL, nil) },
		"unknown fields":       func() (any, error) { return b.Parse(typeURL, []byte{0x0a, 0x01, 'x'}) },
		"share": func() (any, error) {
			return b.ParseOverride(policyURL, encode(t, &corsv3.CorsPolicy{FilterEnabled: part}))
		},
		"shadow": func() (any, error) {
			return b.ParseOverride(policyURL, encode(t, &corsv3.CorsPolicy{ShadowEnabled: part}))
		},
		"private network": func() (any, error) {
			return b.ParseOverride(policyURL, encode(t, &corsv3.CorsPolicy{AllowPrivateNetworkAccess: wrapperspb.Bool(true)}))
		},
		"no pattern": func() (any, error) {
			return b.ParseOverride(policyURL, encode(t, &corsv3.CorsPolicy{AllowOriginStringMatch: []*matcherv3.StringMatcher{{}}}))
		},
	} {
		if _, err := try(); err == nil || !strings.Contains(err.Error(), Name) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	if _, err := b.Parse(typeURL, nil); err != nil {
		t.Error(err)
	}
}
