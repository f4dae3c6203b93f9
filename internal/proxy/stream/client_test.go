package stream

import (
	"net/netip"
	"testing"
)

func TestClient(t *testing.T) {
	for _, tt := range []struct {
		hops uint16
		xff  []string
		want string
	}{
		{0, nil, "192.0.2.1"},
		{0, []string{"10.1.2.3"}, "10.1.2.3"},
		{0, []string{"10.1.2.3, 10.1.2.4"}, "10.1.2.4"},
		{1, []string{"10.1.2.3, 10.1.2.4"}, "10.1.2.3"},
		{2, []string{"10.1.2.3, 10.1.2.4"}, "192.0.2.1"},
		{1, []string{"10.1.2.3", "10.1.2.4"}, "10.1.2.3"},
		{0, []string{"10.1.2.3", "nobody"}, "192.0.2.1"},
		{0, []string{"10.1.2.3,"}, "192.0.2.1"},
		{0, []string{"\t10.1.2.3 "}, "10.1.2.3"},
		{0, []string{"2001:db8::1"}, "2001:db8::1"},
		{0, []string{"::ffff:10.1.2.3"}, "10.1.2.3"},
		{0, []string{"fe80::1%eth0"}, "fe80::1"},
		{0, []string{"010.1.2.3"}, "192.0.2.1"},
		{0, []string{"10.1.2.256"}, "192.0.2.1"},
		{0, []string{"10.1.2"}, "192.0.2.1"},
		{0, []string{"10.1.2.3.4"}, "192.0.2.1"},
		{0, []string{"10.1.2.3:80"}, "192.0.2.1"},
		{0, []string{"99999999999999999999.1.1.1"}, "192.0.2.1"},
	} {
		s := &Stream{TrustedHops: tt.hops, Conn: &Conn{Remote: netip.MustParseAddrPort("[::ffff:192.0.2.1]:1")}}
		for _, v := range tt.xff {
			s.Request.AddString(ForwardedFor, v)
		}
		if got := s.Client(); got != netip.MustParseAddr(tt.want) {
			t.Errorf("%d hops, %q: got %s, want %s", tt.hops, tt.xff, got, tt.want)
		}
	}
}

func TestMetadata(t *testing.T) {
	var m Metadata
	m.Set("a", "k", "old")
	m.Set("a", "k", map[string]any{"x": map[string]any{"y": nil}})
	m.Set("b", "k", 1.0)
	for _, tt := range []struct {
		path []string
		want any
		ok   bool
	}{
		{[]string{"b", "k"}, 1.0, true}, {[]string{"a", "k", "x", "y"}, nil, true}, {[]string{"a", "k", "y"}, nil, false},
		{[]string{"b", "k", "x"}, nil, false}, {[]string{"c", "k"}, nil, false}, {[]string{"a"}, nil, false},
	} {
		if v, ok := m.Get(tt.path[0], tt.path[1:]...); v != tt.want || ok != tt.ok {
			t.Errorf("%q: %v, %v", tt.path, v, ok)
		}
	}
	if m.Reset(); len(m.entries) != 0 {
		t.Error("not empty")
	}
}
