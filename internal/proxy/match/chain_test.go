package match

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func chainNamed(name string, m config.ChainMatch) *config.FilterChain {
	return &config.FilterChain{Name: name, Match: m}
}

// istioInbound has the shape of Istio's virtualInbound.
func istioInbound() *config.Listener {
	mesh := []string{"istio-http/1.0", "istio-http/1.1", "istio-h2"}
	return &config.Listener{Chains: []*config.FilterChain{
		chainNamed("blackhole", config.ChainMatch{DestPort: 15006}),
		chainNamed("catchall-http-tls", config.ChainMatch{Transport: "tls", ALPNs: mesh}),
		chainNamed("catchall-http", config.ChainMatch{Transport: "raw_buffer", ALPNs: []string{"http/1.1", "h2c"}}),
		chainNamed("catchall-mesh-tcp", config.ChainMatch{Transport: "tls", ALPNs: []string{"istio-peer-exchange", "istio"}}),
		chainNamed("catchall-plain", config.ChainMatch{Transport: "raw_buffer"}),
		chainNamed("catchall-tls", config.ChainMatch{Transport: "tls"}),
		chainNamed("9080-tls", config.ChainMatch{DestPort: 9080, Transport: "tls", ALPNs: append([]string{"istio", "istio-peer-exchange"}, mesh...)}),
		chainNamed("9080-plain", config.ChainMatch{DestPort: 9080, Transport: "raw_buffer"}),
	}}
}

func TestFindChain(t *testing.T) {
	by := func(chains ...*config.FilterChain) *config.Listener { return &config.Listener{Chains: chains} }
	names := by(
		chainNamed("exact", config.ChainMatch{ServerNames: []string{"a.example.com"}}),
		chainNamed("wild", config.ChainMatch{ServerNames: []string{"*.example.com"}}),
		chainNamed("wider", config.ChainMatch{ServerNames: []string{"*.com"}}),
		chainNamed("any", config.ChainMatch{}))
	nets := by(
		chainNamed("8", config.ChainMatch{DestPrefixes: prefixes("10.0.0.0/8")}),
		chainNamed("24", config.ChainMatch{DestPrefixes: prefixes("10.1.2.0/24", "192.168.0.0/16")}),
		chainNamed("any", config.ChainMatch{}))
	sources := by(
		chainNamed("local", config.ChainMatch{SrcType: config.SourceSameIPOrLoopback}),
		chainNamed("external", config.ChainMatch{SrcType: config.SourceExternal}))
	sourcePorts := by(
		chainNamed("net and port", config.ChainMatch{SrcPrefixes: prefixes("10.0.0.0/8"), SrcPorts: []uint16{1000}}),
		chainNamed("net", config.ChainMatch{SrcPrefixes: prefixes("10.0.0.0/8")}))
	tests := []struct {
		name string
		l    *config.Listener
		f    ChainFacts
		dest string
		want string
	}{
		{"declared port, mTLS", istioInbound(), ChainFacts{Transport: "tls", ALPNs: []string{"istio-http/1.1", "istio"}}, "10.0.0.1:9080", "9080-tls"},
		{"declared port, plain", istioInbound(), ChainFacts{ALPNs: []string{"http/1.1"}}, "10.0.0.1:9080", "9080-plain"},
		{"declared port wins and then nothing matches", istioInbound(), ChainFacts{Transport: "tls", ALPNs: []string{"h2"}}, "10.0.0.1:9080", ""},
		{"own port", istioInbound(), ChainFacts{Transport: "tls"}, "10.0.0.1:15006", "blackhole"},
		{"other port, mesh HTTP", istioInbound(), ChainFacts{Transport: "tls", ALPNs: []string{"istio-http/1.1", "istio"}}, "10.0.0.1:80", "catchall-http-tls"},
		{"client's order of ALPN decides", istioInbound(), ChainFacts{Transport: "tls", ALPNs: []string{"istio", "istio-http/1.1"}}, "10.0.0.1:80", "catchall-mesh-tcp"},
		{"other port, foreign TLS", istioInbound(), ChainFacts{Transport: "tls", ALPNs: []string{"h2"}}, "10.0.0.1:80", "catchall-tls"},
		{"other port, plain HTTP", istioInbound(), ChainFacts{ALPNs: []string{"h2c"}}, "10.0.0.1:80", "catchall-http"},
		{"other port, bytes", istioInbound(), ChainFacts{}, "10.0.0.1:80", "catchall-plain"},
		{"exact server name", names, ChainFacts{ServerName: "a.example.com"}, "1.1.1.1:1", "exact"},
		{"wildcard", names, ChainFacts{ServerName: "b.c.example.com"}, "1.1.1.1:1", "wild"},
		{"wider wildcard", names, ChainFacts{ServerName: "b.com"}, "1.1.1.1:1", "wider"},
		{"wildcard is not the bare domain", names, ChainFacts{ServerName: "com"}, "1.1.1.1:1", "any"},
		{"no server name", names, ChainFacts{}, "1.1.1.1:1", "any"},
		{"longest prefix", nets, ChainFacts{}, "10.1.2.3:1", "24"},
		{"mapped address", nets, ChainFacts{}, "[::ffff:10.1.2.3]:1", "24"},
		{"shorter prefix", nets, ChainFacts{}, "10.9.9.9:1", "8"},
		{"no prefix", nets, ChainFacts{}, "[fd00::1]:1", "any"},
		{"loopback source", sources, ChainFacts{Source: netip.MustParseAddrPort("127.0.0.6:5")}, "10.0.0.1:1", "local"},
		{"same address", sources, ChainFacts{Source: netip.MustParseAddrPort("10.0.0.1:5")}, "10.0.0.1:1", "local"},
		{"external", sources, ChainFacts{Source: netip.MustParseAddrPort("10.0.0.2:5")}, "10.0.0.1:1", "external"},
		{"source port", sourcePorts, ChainFacts{Source: netip.MustParseAddrPort("10.0.0.2:1000")}, "10.0.0.1:1", "net and port"},
		{"other source port", sourcePorts, ChainFacts{Source: netip.MustParseAddrPort("10.0.0.2:1001")}, "10.0.0.1:1", "net"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.f.Dest = netip.MustParseAddrPort(tt.dest)
			rec := &log{}
			c := FindChain(tt.l, &tt.f, rec)
			got := ""
			if c != nil {
				got = c.Name
			}
			if got != tt.want {
				t.Fatalf("got %q, want %q", got, tt.want)
			}
			if FindChain(tt.l, &tt.f, nil) != c {
				t.Error("the recorder changes the answer")
			}
			if len(rec.list) != len(tt.l.Chains) {
				t.Errorf("%d of %d chains were recorded: %+v", len(rec.list), len(tt.l.Chains), rec.list)
			}
		})
	}
}

type log struct{ list []Candidate }

func (l *log) Candidate(c Candidate) { l.list = append(l.list, c) }

func TestDefaultChain(t *testing.T) {
	l := &config.Listener{
		Chains:       []*config.FilterChain{chainNamed("http", config.ChainMatch{ALPNs: []string{"http/1.1"}})},
		DefaultChain: chainNamed("default", config.ChainMatch{}),
	}
	rec := &log{}
	if c := FindChain(l, &ChainFacts{}, rec); c != l.DefaultChain {
		t.Fatalf("got %v", c)
	}
	if why := rec.list[0].Why; !strings.Contains(why, "wants application protocol [http/1.1]") {
		t.Errorf("why: %s", why)
	}
}

func TestFindListener(t *testing.T) {
	at := func(addr string) *config.Listener {
		return &config.Listener{Name: addr, Addr: netip.MustParseAddrPort(addr)}
	}
	out := at("0.0.0.0:15001")
	out.UseOriginalDst = true
	set := NewListeners([]*config.Listener{out, at("10.96.0.5:80"), at("0.0.0.0:80"), at("[::]:443"), at("[::]:80")})
	for dst, want := range map[string]string{
		"10.96.0.5:80":          "10.96.0.5:80",
		"[::ffff:10.96.0.5]:80": "10.96.0.5:80",
		"10.96.0.6:80":          "0.0.0.0:80",
		"[fd00::1]:80":          "[::]:80",
		"10.96.0.6:443":         "[::]:443",
		"10.96.0.6:15001":       "",
		"10.96.0.6:9999":        "",
	} {
		got := ""
		if l := FindListener(set, netip.MustParseAddrPort(dst), nil); l != nil {
			got = l.Name
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", dst, got, want)
		}
	}
}

func BenchmarkFindChain(b *testing.B) {
	l := istioInbound()
	f := &ChainFacts{Dest: netip.MustParseAddrPort("10.0.0.1:9080"), Transport: "tls", ALPNs: []string{"istio-http/1.1", "istio"}}
	b.ReportAllocs()
	for b.Loop() {
		if FindChain(l, f, nil) == nil {
			b.Fatal("none")
		}
	}
}
