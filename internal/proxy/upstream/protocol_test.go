package upstream

import (
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
)

// meshOffer is what the istio.alpn filter leaves.
var meshOffer = stream.NewALPN([]string{"istio-http/1.1", "istio", "http/1.1"}, []string{"istio-h2", "istio", "h2"})

// TestProtocols: what is offered, what is spoken, and what fails, by the protocol of
// the cluster and what the endpoint knows.
func TestProtocols(t *testing.T) {
	const one, two, down, alpn = config.SpeakHTTP11, config.SpeakHTTP2, config.SpeakDownstream, config.SpeakALPN
	for _, c := range []struct {
		name     string
		speak    config.UpstreamProtocol
		proto    stream.Proto // of the request
		upgrade  string
		config   string // of the TLS context
		override bool   // by the filter
		server   string
		offered  string
		http2    bool
		fails    string
	}{
		{name: "HTTP/2 said", speak: two, server: "h2 http/1.1", offered: "h2", http2: true},
		{name: "HTTP/2 configured", speak: two, config: "h2 http/1.1", server: "h2 http/1.1", offered: "h2 http/1.1", http2: true},
		{name: "HTTP/2, and only 1.1 known", speak: two, server: "http/1.1", offered: "h2", fails: "no application protocol (offered h2)"},
		{name: "HTTP/2, and 1.1 agreed", speak: two, config: "h2 http/1.1", server: "http/1.1", offered: "h2 http/1.1",
			fails: `negotiated "http/1.1" where HTTP/2 is to be spoken`},
		{name: "HTTP/1.1 never offers h2", speak: one, config: "h2 http/1.1", server: "h2 http/1.1", offered: "http/1.1"},
		{name: "HTTP/1.1 offers nothing", speak: one, server: "h2 http/1.1"},
		{name: "mesh, HTTP/2", speak: two, config: "istio-peer-exchange istio", override: true, server: "h2 http/1.1", offered: "istio-h2 istio h2", http2: true},
		{name: "mesh, its own name", speak: two, config: "istio", override: true, server: "istio-h2", offered: "istio-h2 istio h2", http2: true},
		{name: "mesh, HTTP/1.1", speak: one, config: "istio-peer-exchange istio", override: true, server: "h2 http/1.1", offered: "istio-http/1.1 istio http/1.1"},
		{name: "mesh without the filter", speak: one, config: "istio-peer-exchange istio", server: "istio-peer-exchange istio", offered: "istio"},
		{name: "strangers are not told of the mesh", speak: two, override: true, config: "h2", server: "h2", offered: "h2", http2: true},
		{name: "downstream 2", speak: down, proto: stream.HTTP2, server: "h2 http/1.1", offered: "h2", http2: true},
		{name: "downstream 1.1", speak: down, proto: stream.HTTP11, config: "h2 http/1.1", server: "h2 http/1.1", offered: "http/1.1"},
		{name: "negotiated 2", speak: alpn, server: "h2 http/1.1", offered: "h2 http/1.1", http2: true},
		{name: "negotiated 1.1", speak: alpn, server: "http/1.1", offered: "h2 http/1.1"},
		{name: "nothing negotiated", speak: alpn, offered: "h2 http/1.1"},
		{name: "negotiated in the mesh", speak: alpn, config: "istio", override: true, server: "http/1.1", offered: "istio-h2 istio h2 istio-http/1.1 http/1.1"},
		{name: "an upgrade is not negotiated", speak: alpn, upgrade: "websocket", config: "h2 http/1.1", server: "h2 http/1.1", offered: "http/1.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			server, client := selfSigned(t, serverID), selfSigned(t, "spiffe://cluster.local/ns/default/sa/client")
			addr, offered := httpsServer(t, server, strings.Fields(c.server)...)
			m := New(Options{Sockets: rawio.HostSockets{}, Secrets: &secretMap{m: map[string]*tlsctx.Secret{"default": client, "ROOTCA": server}}})
			defer m.Close()
			cluster := static(func(x *config.Cluster) {
				x.Protocol = c.speak
				x.TLS = &config.UpstreamTLS{Common: config.CommonTLS{
					Certificates: []config.SecretRef{{Name: "default"}}, Validation: config.SecretRef{Name: "ROOTCA"}, ALPN: strings.Fields(c.config)}}
			}, addr)
			if err := m.Apply([]*config.Cluster{cluster}, nil); err != nil {
				t.Fatal(err)
			}
			h := m.Handle("c")
			for range 2 {
				s := request()
				s.Request.Proto, s.Request.Upgrade, s.Request.Scheme = c.proto, c.upgrade, []byte("https")
				if c.override {
					s.UpstreamALPN = meshOffer
				}
				l, err := h.Acquire(s, &Tried{})
				if c.fails != "" {
					if code(err) != stream.UpstreamTLS || !strings.Contains(err.Error(), c.fails) {
						t.Errorf("got %v", err)
					}
					break
				}
				if err != nil {
					t.Fatal(err)
				}
				if l.conn.mux != c.http2 {
					t.Errorf("HTTP/2 is %v", l.conn.mux)
				}
				s.Request.Upgrade = ""
				l.Release(Outcome{Status: 200, Reusable: useBody(t, l, s)})
			}
			list := offered()
			if len(list) != 1 || !slices.Equal(list[0], strings.Fields(c.offered)) {
				t.Errorf("offered %q", list)
			}
			clusterIs := map[bool]uint64{c.http2: 1, !c.http2: 0}
			if st := h.Stats(); c.fails == "" && (st.CxHTTP2.Load() != clusterIs[true] || st.CxHTTP1.Load() != clusterIs[false]) {
				t.Errorf("%d connections of HTTP/2, %d of HTTP/1.1", st.CxHTTP2.Load(), st.CxHTTP1.Load())
			}
		})
	}
}
