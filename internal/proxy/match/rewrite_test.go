package match

import (
	"fmt"
	"regexp"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/config/format"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

func TestRewritePath(t *testing.T) {
	prefix := func(kind config.PathKind, path, by string) *config.Route {
		return &config.Route{Match: config.RouteMatch{PathKind: kind, Path: path}, Forward: &config.Forward{PrefixRewrite: by}}
	}
	regex := func(re, sub string) *config.Route {
		return &config.Route{Match: config.RouteMatch{Path: "/"}, Forward: &config.Forward{RegexRewrite: regexp.MustCompile(re), RegexRewriteSub: sub}}
	}
	tests := []struct {
		name, path, want string
		r                *config.Route
	}{
		{"prefix", "/a/b?q=/a", "/x/b?q=/a", prefix(config.PathPrefix, "/a", "/x")},
		{"prefix to root leaves two slashes, as Envoy does", "/a/b", "//b", prefix(config.PathPrefix, "/a", "/")},
		{"exact", "/a?q", "/x?q", prefix(config.PathExact, "/a", "/x")},
		{"separated", "/a/b", "/x/b", prefix(config.PathSeparatedPrefix, "/a", "/x")},
		{"regex match takes the whole path", "/v1/x?q", "/?q", prefix(config.PathRegex, "", "/")},
		{"regex", "/a/b/c?d=/a/", "/x/b/c?d=/a/", regex("^/a/(.*)", `/x/\1`)},
		{"regex everywhere", "/a-b-c", "/a_b_c", regex("-", "_")},
		{"whole and backslash", "/a", `/<a>\`, regex("a", `<\0>\\`)},
		{"no match", "/a", "/a", regex("z", "y")},
		{"no rewrite", "/a", "/a", &config.Route{Forward: &config.Forward{}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(RewritePath(nil, tt.r, []byte(tt.path))); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestLocation(t *testing.T) {
	tests := []struct {
		name, authority, path, scheme string
		rd                            config.Redirect
		want                          string
	}{
		{"path keeps the query", "a:80", "/old?q=1", "http", config.Redirect{Path: "/new"}, "http://a:80/new?q=1"},
		{"path with a query of its own", "a", "/old?q=1", "http", config.Redirect{Path: "/new?x", StripQuery: true}, "http://a/new?x"},
		{"strip query", "a", "/old?q=1", "http", config.Redirect{Host: "b", StripQuery: true}, "http://b/old"},
		{"https drops the standard port", "a:80", "/", "http", config.Redirect{HTTPS: true}, "https://a/"},
		{"https keeps another port", "a:8080", "/", "http", config.Redirect{HTTPS: true}, "https://a:8080/"},
		{"new port", "a:8080", "/", "http", config.Redirect{Port: 9}, "http://a:9/"},
		{"new port on IPv6", "[::1]:8080", "/", "http", config.Redirect{Port: 9}, "http://[::1]:9/"},
		{"host", "a:8080", "/x", "https", config.Redirect{Host: "b.example"}, "https://b.example/x"},
		{"scheme", "a:443", "/x", "https", config.Redirect{Scheme: "http"}, "http://a/x"},
		{"prefix", "a", "/pre/x?q", "http", config.Redirect{Prefix: "/new", PrefixSet: true}, "http://a/new/x?q"},
		{"regex", "a", "/pre/x", "http", config.Redirect{Regex: regexp.MustCompile("^/pre/(.)"), RegexSub: `/\1\1`}, "http://a/xx"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := request("GET", tt.path)
			req.Authority, req.Scheme = []byte(tt.authority), []byte(tt.scheme)
			r := &config.Route{Match: config.RouteMatch{Path: "/pre"}, Redirect: &tt.rd}
			if got := string(Location(nil, r, req)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
	t.Run("forwarded proto", func(t *testing.T) {
		req := request("GET", "/", "x-forwarded-proto", "https")
		if got := string(Location(nil, &config.Route{Redirect: &config.Redirect{Path: "/n"}}, req)); got != "https://h:80/n" {
			t.Errorf("got %q", got)
		}
	})
}

func TestApplyHeaders(t *testing.T) {
	add := func(name, value string, a config.HeaderAction) config.HeaderAdd {
		h := config.HeaderAdd{Name: stream.N(name), Value: value, Action: a}
		p, err := format.Parse(value)
		if err != nil {
			t.Fatal(err)
		}
		h.Format = p
		return h
	}
	tests := []struct {
		name string
		ops  config.HeaderOps
		want string
	}{
		{"append", config.HeaderOps{Add: []config.HeaderAdd{add("a", "3", config.AppendOrAdd)}}, "A=1 b=2 a=3"},
		{"overwrite", config.HeaderOps{Add: []config.HeaderAdd{add("a", "3", config.OverwriteOrAdd), add("c", "4", config.OverwriteOrAdd)}}, "A=3 b=2 c=4"},
		{"if absent", config.HeaderOps{Add: []config.HeaderAdd{add("a", "3", config.AddIfAbsent), add("c", "4", config.AddIfAbsent)}}, "A=1 b=2 c=4"},
		{"if there", config.HeaderOps{Add: []config.HeaderAdd{add("a", "3", config.OverwriteIfExists), add("c", "4", config.OverwriteIfExists)}}, "A=3 b=2"},
		{"removals come first", config.HeaderOps{Remove: []stream.Name{stream.N("a")}, Add: []config.HeaderAdd{add("a", "3", config.AppendOrAdd)}}, "b=2 a=3"},
		{"values are computed before any is written", config.HeaderOps{Add: []config.HeaderAdd{add("a", "%REQ(b)%", config.OverwriteOrAdd), add("b", "%REQ(a)%", config.OverwriteOrAdd)}}, "A=2 b=1"},
		{"overwriting comes before adding", config.HeaderOps{Add: []config.HeaderAdd{add("c", "4", config.AppendOrAdd), add("c", "5", config.OverwriteOrAdd)}}, "A=1 b=2 c=5 c=4"},
		{"an empty value adds nothing", config.HeaderOps{Add: []config.HeaderAdd{add("c", "%REQ(nope)%", config.AppendOrAdd)}}, "A=1 b=2"},
		{"unless it is kept", config.HeaderOps{Add: []config.HeaderAdd{{Name: stream.N("c"), KeepEmpty: true}}}, "A=1 b=2 c="},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &stream.Stream{}
			s.Request.AddRaw([]byte("A"), []byte("1"))
			s.Request.AddRaw([]byte("b"), []byte("2"))
			ApplyHeaders([]config.HeaderOps{tt.ops}, &s.Request.Head, &format.Source{Stream: s})
			got := ""
			for name, value := range s.Request.All() {
				got += fmt.Sprintf(" %s=%s", name, value)
			}
			if got != " "+tt.want {
				t.Errorf("got %q, want %q", got[1:], tt.want)
			}
		})
	}
}

func BenchmarkApplyHeaders(b *testing.B) {
	p, err := format.Parse("%DOWNSTREAM_REMOTE_ADDRESS%")
	if err != nil {
		b.Fatal(err)
	}
	ops := []config.HeaderOps{{
		Remove: []stream.Name{stream.N("x-gone")},
		Add:    []config.HeaderAdd{{Name: stream.N("x-one"), Value: "1", Action: config.OverwriteOrAdd}, {Name: stream.N("x-two"), Format: p}},
	}}
	s := &stream.Stream{Conn: &stream.Conn{}}
	src := &format.Source{Stream: s}
	b.ReportAllocs()
	for b.Loop() {
		s.Request.Head.Reset()
		s.Request.Add(stream.UserAgent, []byte("curl"))
		ApplyHeaders(ops, &s.Request.Head, src)
	}
}
