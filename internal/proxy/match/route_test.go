package match

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

func table(hosts ...*config.VirtualHost) *config.RouteTable {
	t := &config.RouteTable{Hosts: hosts}
	Prepare(t)
	return t
}

func TestFindHost(t *testing.T) {
	host := func(domains ...string) *config.VirtualHost {
		return &config.VirtualHost{Name: domains[0], Domains: domains}
	}
	tb := table(host("*"), host("*.example.com"), host("*.a.example.com"), host("*-x.example.com"), host("www.*"), host("www.a.*"), host("b.example.com", "b:80", "[::1]"))
	tests := []struct {
		authority, want string
		ignorePort      bool
	}{
		{"b.example.com", "b.example.com", false},
		{"B.Example.Com", "b.example.com", false},
		{"b:80", "b.example.com", false},
		{"b.example.com:8080", "*", false},
		{"b.example.com:8080", "b.example.com", true},
		{"[::1]:8080", "b.example.com", true},
		{"[::1]", "b.example.com", true},
		{"c.example.com", "*.example.com", false},
		{"c.a.example.com", "*.a.example.com", false},
		{".example.com", "*", false},
		{"y-x.example.com", "*-x.example.com", false},
		{"www.other.org", "www.*", false},
		{"www.a.org", "www.a.*", false},
		{"www.example.com", "*.example.com", false},
		{"", "*", false},
	}
	for _, tt := range tests {
		t.Run(tt.authority, func(t *testing.T) {
			tb.IgnorePortInHost = tt.ignorePort
			h := FindHost(tb, []byte(tt.authority), nil)
			if h == nil || h.Name != tt.want {
				t.Errorf("got %v, want %s", h, tt.want)
			}
			rec := &log{}
			if FindHost(tb, []byte(tt.authority), rec) != h || len(rec.list) != len(tb.Hosts) {
				t.Errorf("with a recorder: %+v", rec.list)
			}
		})
	}
}

func request(method, path string, headers ...string) *stream.Request {
	r := &stream.Request{Method: []byte(method), Path: []byte(path), Authority: []byte("h:80"), Scheme: []byte("http")}
	for i := 0; i+1 < len(headers); i += 2 {
		r.AddString(stream.N(headers[i]), headers[i+1])
	}
	return r
}

func full(re string) *regexp.Regexp { return regexp.MustCompile(`\A(?:` + re + `)\z`) }

func TestRouteMatch(t *testing.T) {
	header := func(name string, m config.StringMatch) config.HeaderMatch {
		return config.HeaderMatch{Name: stream.N(name), Value: m}
	}
	inverted := func(h config.HeaderMatch) config.HeaderMatch { h.Invert = !h.Invert; return h }
	empty := func(h config.HeaderMatch) config.HeaderMatch { h.MissingAsEmpty = true; return h }
	any := config.StringMatch{Kind: config.StringAny}
	exact := func(v string) config.StringMatch { return config.StringMatch{Kind: config.StringExact, Value: v} }
	with := func(h ...config.HeaderMatch) config.RouteMatch { return config.RouteMatch{Headers: h} }
	query := func(name string, m config.StringMatch) config.RouteMatch {
		return config.RouteMatch{Query: []config.QueryMatch{{Name: name, Value: m}}}
	}
	span := config.HeaderMatch{Name: stream.N("n"), RangeSet: true, RangeLo: -5, RangeHi: 10}
	get := func(path string, headers ...string) *stream.Request { return request("GET", path, headers...) }
	tests := []struct {
		name string
		m    config.RouteMatch
		req  *stream.Request
		want bool
	}{
		{"prefix", config.RouteMatch{Path: "/a"}, get("/ab?x"), true},
		{"prefix is case-sensitive", config.RouteMatch{Path: "/a"}, get("/Ab"), false},
		{"prefix folded", config.RouteMatch{Path: "/ab", CaseFold: true}, get("/ABc"), true},
		{"prefix longer", config.RouteMatch{Path: "/abc"}, get("/ab"), false},
		{"exact ignores the query", config.RouteMatch{PathKind: config.PathExact, Path: "/a"}, get("/a?b=c"), true},
		{"exact ignores the fragment", config.RouteMatch{PathKind: config.PathExact, Path: "/a"}, get("/a#b"), true},
		{"exact longer", config.RouteMatch{PathKind: config.PathExact, Path: "/a"}, get("/ab"), false},
		{"exact folded", config.RouteMatch{PathKind: config.PathExact, Path: "/a", CaseFold: true}, get("/A"), true},
		{"separated itself", config.RouteMatch{PathKind: config.PathSeparatedPrefix, Path: "/a"}, get("/a?x"), true},
		{"separated below", config.RouteMatch{PathKind: config.PathSeparatedPrefix, Path: "/a"}, get("/a/b"), true},
		{"separated beside", config.RouteMatch{PathKind: config.PathSeparatedPrefix, Path: "/a"}, get("/ab"), false},
		{"regex whole", config.RouteMatch{PathKind: config.PathRegex, Regex: full("/v[0-9]+")}, get("/v12?x"), true},
		{"regex part", config.RouteMatch{PathKind: config.PathRegex, Regex: full("/v[0-9]+")}, get("/v12/x"), false},
		{"connect", config.RouteMatch{PathKind: config.PathConnect}, request("CONNECT", ""), true},
		{"connect is not get", config.RouteMatch{PathKind: config.PathConnect}, get("/"), false},
		{"header", with(header("end-user", exact("jason"))), get("/", "End-User", "jason"), true},
		{"header differs", with(header("end-user", exact("jason"))), get("/", "end-user", "jason2"), false},
		{"header missing", with(header("end-user", exact("jason"))), get("/"), false},
		{"two values are not joined", with(header("a", exact("1,2"))), get("/", "a", "1", "a", "2"), false},
		{"one of two values", with(header("a", exact("2"))), get("/", "a", "1", "a", "2"), true},
		{"all headers", with(header("a", exact("1")), header("b", exact("2"))), get("/", "a", "1"), false},
		{"present", with(header("a", any)), get("/", "a", ""), true},
		{"absent", with(inverted(header("a", any))), get("/"), true},
		{"absent is there", with(inverted(header("a", any))), get("/", "a", "1"), false},
		{"inverted and missing", with(inverted(header("a", exact("1")))), get("/"), false},
		{"inverted, missing as empty", with(empty(inverted(header("a", exact("1"))))), get("/"), true},
		{"inverted and equal", with(inverted(header("a", exact("1")))), get("/", "a", "1"), false},
		{"range", with(span), get("/", "n", "-5"), true},
		{"range end", with(span), get("/", "n", "10"), false},
		{"range of no number", with(span), get("/", "n", "x"), false},
		{"method", with(header(":method", exact("POST"))), request("POST", "/"), true},
		{"authority", with(header(":authority", exact("h:80"))), get("/"), true},
		{"host", with(header("host", exact("h:80"))), get("/"), true},
		{"path with query", with(header(":path", exact("/?a=1"))), get("/?a=1"), true},
		{"scheme", with(header(":scheme", exact("https"))), get("/"), false},
		{"suffix", with(header("a", config.StringMatch{Kind: config.StringSuffix, Value: "c"})), get("/", "a", "abc"), true},
		{"contains folded", with(header("a", config.StringMatch{Kind: config.StringContains, Value: "bc", CaseFold: true})), get("/", "a", "aBCd"), true},
		{"cookie by regex", with(header("cookie", config.StringMatch{Kind: config.StringRegex, Regex: full(`^(.*?;)?(user=jason)(;.*)?$`)})), get("/", "cookie", "a=b;user=jason"), true},
		{"query", query("a", exact("1")), get("/?b=2&a=1#f"), true},
		{"query, first wins", query("a", exact("1")), get("/?a=2&a=1"), false},
		{"query present", query("a", any), get("/?a"), true},
		{"query missing", query("a", any), get("/?b=a"), false},
		{"fraction out", config.RouteMatch{FractionSet: true, Fraction: 500_000}, get("/"), false},
		{"fraction in", config.RouteMatch{FractionSet: true, Fraction: 700_001}, get("/"), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			vh := &config.VirtualHost{Routes: []*config.Route{{Match: tt.m}}}
			rec := &log{}
			if got := FindRoute(vh, tt.req, 700_000, rec) != nil; got != tt.want {
				t.Errorf("got %v: %s", got, rec.list[0].Why)
			}
			if got := FindRoute(vh, tt.req, 700_000, nil) != nil; got != tt.want {
				t.Error("without a recorder the answer is another one")
			}
		})
	}
}

func TestFirstRouteWins(t *testing.T) {
	vh := &config.VirtualHost{}
	for i := range 40 {
		vh.Routes = append(vh.Routes, &config.Route{Name: fmt.Sprint(i), Match: config.RouteMatch{PathKind: config.PathExact, Path: fmt.Sprint("/", i)}})
	}
	vh.Routes = append(vh.Routes, &config.Route{Name: "wide", Match: config.RouteMatch{Path: "/"}},
		&config.Route{Name: "shadowed", Match: config.RouteMatch{Path: "/long"}})
	Prepare(&config.RouteTable{Hosts: []*config.VirtualHost{vh}})
	if vh.Index == nil {
		t.Fatal("no index was built")
	}
	for path, want := range map[string]string{"/7": "7", "/39?x": "39", "/long": "wide", "/": "wide"} {
		if r := FindRoute(vh, request("GET", path), 0, nil); r == nil || r.Name != want {
			t.Errorf("%s: got %v, want %s", path, r, want)
		}
	}
	if r := FindRoute(vh, request("OPTIONS", "*"), 0, nil); r != nil {
		t.Errorf("*: got %s", r.Name)
	}
}

func TestPickCluster(t *testing.T) {
	f := &config.Forward{TotalWeight: 100, Clusters: []config.WeightedCluster{
		{Cluster: config.ClusterRef{Name: "none"}, Weight: 0}, {Cluster: config.ClusterRef{Name: "a"}, Weight: 90}, {Cluster: config.ClusterRef{Name: "b"}, Weight: 10},
	}}
	counts := map[string]int{}
	for i := range uint64(1000) {
		counts[PickCluster(f, i, nil).Cluster.Name]++
	}
	if counts["a"] != 900 || counts["b"] != 100 {
		t.Errorf("got %v", counts)
	}
	if PickCluster(&config.Forward{}, 1, nil) != nil {
		t.Error("a route without clusters picks none")
	}
	rec := &log{}
	PickCluster(f, 95, rec)
	if len(rec.list) != 3 || !rec.list[2].Matched || rec.list[2].Why != "weight 10 of 100" {
		t.Errorf("recorded %+v", rec.list)
	}
}

// FuzzIndex compares the indexes with the scans that define them.
func FuzzIndex(f *testing.F) {
	f.Add("*.a.com,a.com,b.*,*,*b.com", "x.a.com", "/a,/a/b,=/a/b,~/a,%/A,/", "/a/b/c")
	f.Add("a", "A:80", "/,/a,/ab,/abc,/abcd", "/abcde?x")
	f.Fuzz(func(t *testing.T, domains, authority, paths, path string) {
		tb := &config.RouteTable{}
		for i, d := range strings.Split(domains, ",") {
			if strings.Contains(strings.Trim(d, "*"), "*") {
				continue
			}
			tb.Hosts = append(tb.Hosts, &config.VirtualHost{Name: fmt.Sprint(i), Domains: []string{strings.ToLower(d)}})
		}
		host := lower(nil, []byte(authority))
		if got, want := indexHosts(tb.Hosts).find(host), scanHosts(tb, host, nil); got != want {
			t.Errorf("host %q in %q: index %v, scan %v", host, domains, got, want)
		}
		routes := fuzzRoutes(paths)
		x := indexRoutes(routes)
		req := request("GET", path)
		m := &matcher{req: req, path: pathOnly(req.Path)}
		want := FindRoute(&config.VirtualHost{Routes: routes}, req, 0, nil)
		if got, ok := x.find(m); ok && got != want {
			t.Errorf("path %q in %q: index %v, scan %v", path, paths, got, want)
		}
	})
}

func fuzzRoutes(paths string) []*config.Route {
	var routes []*config.Route
	for _, p := range strings.Split(paths, ",") {
		m := config.RouteMatch{Path: p}
		if p != "" {
			switch p[0] {
			case '=':
				m.PathKind, m.Path = config.PathExact, p[1:]
			case '~':
				m.PathKind, m.Path = config.PathSeparatedPrefix, p[1:]
			case '%':
				m.CaseFold, m.Path = true, string(lower(nil, []byte(p[1:])))
			}
		}
		routes = append(routes, &config.Route{Name: p, Match: m})
	}
	return routes
}

// BenchmarkFind is the budget of a large table: 1,000 virtual hosts with 50 routes.
func BenchmarkFind(b *testing.B) {
	tb := &config.RouteTable{IgnorePortInHost: true}
	for i := range 1000 {
		name := fmt.Sprintf("service-%d.default.svc.cluster.local", i)
		h := &config.VirtualHost{Name: name, Domains: []string{name, fmt.Sprintf("service-%d", i), fmt.Sprintf("10.96.%d.%d", i/250, i%250)}}
		for j := range 49 {
			h.Routes = append(h.Routes, &config.Route{Match: config.RouteMatch{
				Path: fmt.Sprintf("/api/v%d/things", j), PathKind: config.PathKind(j % 2),
				Headers: []config.HeaderMatch{{Name: stream.N("end-user"), Value: config.StringMatch{Kind: config.StringExact, Value: "jason"}}},
			}})
		}
		h.Routes = append(h.Routes, &config.Route{Match: config.RouteMatch{Path: "/"}})
		tb.Hosts = append(tb.Hosts, h)
	}
	Prepare(tb)
	req := request("GET", "/api/v48/things/12345?q=1", "user-agent", "curl", "x-request-id", "1", "accept", "*/*")
	authority := []byte("service-777.default.svc.cluster.local:8080")
	b.ReportAllocs()
	for b.Loop() {
		h := FindHost(tb, authority, nil)
		if r := FindRoute(h, req, 1, nil); r == nil || r.Match.Path != "/" {
			b.Fatal("wrong route")
		}
	}
}
