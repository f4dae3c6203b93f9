package tlsctx

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// TestServerALPN: what a server agrees to, by its configuration and codec.
func TestServerALPN(t *testing.T) {
	for _, c := range []struct {
		name, server, client, want string
		http1                      bool
	}{
		{name: "mesh of HTTP/2", server: "istio-h2 istio-http/1.1 istio", client: "istio-h2 istio h2", want: "istio-h2"},
		{name: "as Istio's servers", server: "h2 http/1.1", client: "istio-h2 istio h2", want: "h2"},
		{name: "HTTP/1.1", server: "h2 http/1.1", client: "istio-http/1.1 istio http/1.1", want: "http/1.1"},
		{name: "the server's order", server: "h2 http/1.1", client: "http/1.1 h2", want: "h2"},
		{name: "a chain of HTTP/1.1", server: "h2 istio-h2 http/1.1", client: "h2 istio-h2 http/1.1", want: "http/1.1", http1: true},
		{name: "and only HTTP/2 offered", server: "h2 http/1.1", client: "h2", http1: true},
		{name: "nothing in common", server: "h2 http/1.1", client: "acme"},
		{name: "nothing offered", server: "h2 http/1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ca := newAuthority(t)
			p := meshPair(t, ca)
			down := &config.DownstreamTLS{Common: mesh(), RequireClient: true}
			down.Common.ALPN = strings.Fields(c.server)
			var err error
			p.server, err = NewServer(down, p.serverS, ServerOptions{HTTP1: c.http1})
			check(t, err)
			h := p.shake(Dial{Speak: Negotiated, ALPN: &stream.ALPN{Either: strings.Fields(c.client)}})
			h.ok(t)
			if got := h.serverSide.NegotiatedProtocol; got != c.want || h.clientSide.NegotiatedProtocol != c.want {
				t.Errorf("agreed on %q", got)
			}
		})
	}
}

// TestOffer holds what the configured list becomes where no filter replaces it.
func TestOffer(t *testing.T) {
	for _, c := range []struct {
		list  string
		speak Speak
		want  string
	}{
		{"istio-peer-exchange istio", Opaque, "istio-peer-exchange istio"},
		{"", Opaque, ""},
		{"istio-peer-exchange istio h2", HTTP1, "istio"},
		{"h2", HTTP1, ""},
		{"", HTTP2, "h2"},
		{"istio-peer-exchange", HTTP2, "h2"},
		{"istio h2", HTTP2, "istio h2"},
		{"", Negotiated, "h2 http/1.1"},
		{"http/1.1", Negotiated, "http/1.1"},
	} {
		if got := offer(strings.Fields(c.list), Dial{Speak: c.speak}); !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("%q for %d: %q, want %q", c.list, c.speak, got, c.want)
		}
	}
}

// TestClientResumption: a client's sessions belong to its identity and trust of the
// time.
func TestClientResumption(t *testing.T) {
	ca := newAuthority(t)
	for name, change := range map[string]func(*pair){
		"identity": func(p *pair) { p.clntS.set("default", ca.leaf(t, clientID, time.Hour)) },
		"trust":    func(p *pair) { p.clntS.set("ROOTCA", ca.roots()) },
	} {
		t.Run(name, func(t *testing.T) {
			p := meshPair(t, ca)
			for i, want := range []bool{false, true, false, true} {
				if i == 2 {
					change(p)
				}
				h := p.shake(Dial{Speak: HTTP2})
				h.ok(t)
				if h.clientSide.DidResume != want {
					t.Errorf("connection %d: resumed is %v", i, h.clientSide.DidResume)
				}
			}
			p.clntS.set("ROOTCA", newAuthority(t).roots()) // the server is not trusted any more
			if h := p.shake(Dial{Speak: HTTP2}); h.clientErr == nil || h.clientSide.DidResume {
				t.Errorf("after the root was withdrawn: %v", h.clientErr)
			}
		})
	}
}
