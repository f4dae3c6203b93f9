package proxy_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

const db = "outbound|3306||db.default.svc.cluster.local"

// tcpListener relays to a cluster; more are further fields of the listener, and
// socket those of the chain.
func tcpListener(name, dir, cluster, more, match, socket string) string {
	return `{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"` + name + `","traffic_direction":"` + dir + `","address":{"socket_address":{"address":"127.0.0.1","port_value":0}},` + more + `
 "filter_chains":[{"name":"tcp",` + match + `"filters":[{"name":"istio.metadata_exchange","typed_config":{` + typed + `envoy.tcp.metadataexchange.config.MetadataExchange","value":{"protocol":"istio-peer-exchange"}}},
 {"name":"istio.stats","typed_config":{` + typed + `stats.PluginConfig","value":{}}},
 {"name":"envoy.filters.network.tcp_proxy","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy","stat_prefix":"x","cluster":"` + cluster + `",` + accessLog + `}}]` + socket + `}]}`
}

// tcpEcho answers every line; it greets first if greeting is not empty.
func tcpEcho(t testing.TB, greeting string) netip.AddrPort {
	t.Helper()
	l := loopback(t)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.WriteString(c, greeting)
				io.Copy(c, c)
				io.WriteString(c, "bye")
			}()
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

// newTCPMesh is a client and a server sidecar that relay TCP with mTLS.
func newTCPMesh(t *testing.T, greeting string) (client, server *sidecar) {
	t.Helper()
	app := tcpEcho(t, greeting)
	ca := newAuthority(t)
	server = newSidecar(t, "db", ca.identity(t, "db"), func(s *sidecar) {
		s.set("inbound|3306||", strings.ReplaceAll(strings.ReplaceAll(static("inbound|3306||", app), "reviews.default", "db.default"), `"reviews"`, `"db"`))
		s.set("virtualInbound", tcpListener("virtualInbound", "INBOUND", "inbound|3306||",
			`"listener_filters":[{"name":"envoy.filters.listener.tls_inspector","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}],"listener_filters_timeout":"0s",`,
			`"filter_chain_match":{"transport_protocol":"tls","application_protocols":["istio-peer-exchange","istio"]},`,
			`,"transport_socket":{"name":"envoy.transport_sockets.tls","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext","common_tls_context":{"alpn_protocols":["istio-peer-exchange","istio"],`+meshTLSParams+`},"require_client_certificate":true}}`))
	})
	client = newSidecar(t, "productpage", ca.identity(t, "productpage"), func(s *sidecar) {
		text := strings.ReplaceAll(strings.ReplaceAll(eds(db), "reviews.default", "db.default"), `"name":"reviews"`, `"name":"db"`)
		text = strings.Replace(text, `"type":"EDS"`, `"filters":[{"name":"istio.metadata_exchange","typed_config":{`+typed+`envoy.tcp.metadataexchange.config.MetadataExchange","value":{"protocol":"istio-peer-exchange"}}}],"type":"EDS"`, 1)
		s.set(db, text)
		s.set(db, assignment(db, "istio", server.addr("virtualInbound")))
		s.set("10.96.0.1_3306", tcpListener("10.96.0.1_3306", "OUTBOUND", db, "", "", ""))
	})
	return client, server
}

func TestTCPThroughTheMesh(t *testing.T) {
	for name, greeting := range map[string]string{"client first": "", "server first": "hello\n"} {
		t.Run(name, func(t *testing.T) {
			client, server := newTCPMesh(t, greeting)
			c, err := net.Dial("tcp", client.addr("10.96.0.1_3306").String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if greeting != "" {
				got := make([]byte, len(greeting))
				if _, err := io.ReadFull(c, got); err != nil || string(got) != greeting {
					t.Fatalf("%q, %v", got, err)
				}
			}
			if _, err := io.WriteString(c, "ping"); err != nil {
				t.Fatal(err)
			}
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(c)
			if err != nil || string(rest) != "pingbye" {
				t.Fatalf("%q, %v", rest, err)
			}
			for _, side := range []struct {
				s        *sidecar
				reporter string
			}{{client, "source"}, {server, "destination"}} {
				labels := map[string]string{
					"reporter": side.reporter, "request_protocol": "tcp", "source_workload": "productpage", "destination_workload": "db",
					"source_principal":      "spiffe://cluster.local/ns/default/sa/productpage",
					"destination_principal": "spiffe://cluster.local/ns/default/sa/db", "destination_service": "db.default.svc.cluster.local",
					"destination_service_name": "db", "response_flags": "-",
				}
				eventually(t, func() string {
					text := get(t, side.s.admin+"/stats/prometheus")
					for metric, want := range map[string]string{
						"istio_tcp_connections_opened_total": "1", "istio_tcp_connections_closed_total": "1",
						"istio_tcp_received_bytes_total": "4", "istio_tcp_sent_bytes_total": fmt.Sprint(len(greeting) + 7),
					} {
						if got := series(text, metric, labels); got != want {
							i := strings.Index(text, metric)
							return fmt.Sprintf("%s: %s = %q, want %s\n%s", side.reporter, metric, got, want, text[max(i, 0):min(len(text), max(i, 0)+1500)])
						}
					}
					if !strings.Contains(side.s.log.String(), fmt.Sprintf(`"- - -" 0 - - - "-" 4 %d `, len(greeting)+7)) {
						return "log: " + side.s.log.String()
					}
					return ""
				})
			}
		})
	}
}

// TestTCPChainWithdrawn: a connection of a chain that disappears is closed when
// the drain time has passed, one of a chain that stays is not touched.
func TestTCPChainWithdrawn(t *testing.T) {
	app := tcpEcho(t, "")
	s := newSidecar(t, "x", nil, func(s *sidecar) {
		s.set("c", static("c", app))
		s.set("gone", tcpListener("gone", "OUTBOUND", "c", "", "", ""))
		s.set("stays", strings.Replace(tcpListener("stays", "OUTBOUND", "c", "", "", ""), "127.0.0.1", "127.0.0.2", 1))
	})
	dial := func(name string) net.Conn {
		c, err := net.Dial("tcp", s.addr(name).String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	ping := func(c net.Conn) error {
		if err := c.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
			return err
		}
		if _, err := io.WriteString(c, "p"); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, 1))
		return err
	}
	gone, stays := dial("gone"), dial("stays")
	for _, c := range []net.Conn{gone, stays} {
		if err := ping(c); err != nil {
			t.Fatal(err)
		}
	}
	at := s.addr("gone").String()
	s.xds.Delete("type.googleapis.com/envoy.config.listener.v3.Listener", "gone")
	eventually(t, func() string {
		c, err := net.Dial("tcp", at)
		if err == nil {
			c.Close()
			return "the removed listener still accepts"
		}
		return ""
	})
	if err := ping(gone); err != nil {
		t.Errorf("while it drains: %v", err)
	}
	if err := gone.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if n, err := gone.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("after the drain time: %d, %v", n, err)
	}
	if err := ping(stays); err != nil {
		t.Errorf("the other listener's connection: %v", err)
	}
	eventually(t, func() string {
		if text := s.log.String(); !strings.Contains(text, " 2 2 ") {
			return "log: " + text
		}
		return ""
	})
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error)
	return ok && t.Timeout()
}
