package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// undecided is a listener whose first bytes decide: requests are answered by the
// proxy itself, everything else goes to a cluster.
func undecided(cluster string) string {
	inspectors := `"listener_filters":[
 {"name":"envoy.filters.listener.tls_inspector","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}},
 {"name":"envoy.filters.listener.http_inspector","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.listener.http_inspector.v3.HttpInspector"}}],
 "listener_filters_timeout":"0s","continue_on_listener_filters_timeout":true,`
	requests := `{"name":"http","filter_chain_match":{"transport_protocol":"raw_buffer","application_protocols":["http/1.1","h2c"]},
 "filters":[{"name":"envoy.filters.network.http_connection_manager","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager","stat_prefix":"x",
 "rds":{"route_config_name":"80","config_source":{"ads":{}}},
 "http_filters":[{"name":"envoy.filters.http.router","typed_config":{"@type":"type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}]}}]}`
	rest := strings.Replace(tcpListener("undecided", "OUTBOUND", cluster, inspectors, "", ""), `"filter_chains":[`, `"filter_chains":[`+requests+`],"default_filter_chain":`, 1)
	return strings.TrimSuffix(rest, "]}") + "}"
}

// answering is its route table, with one domain.
func answering(domain string) string {
	return `{"@type":"type.googleapis.com/envoy.config.route.v3.RouteConfiguration","name":"80","virtual_hosts":[
 {"name":"a","domains":["` + domain + `"],"routes":[{"match":{"prefix":"/"},"direct_response":{"status":200,"body":{"inline_string":"http"}}}]},
 {"name":"allow_any","domains":["*.none","none"],"routes":[{"match":{"prefix":"/"},"direct_response":{"status":404}}]}]}`
}

// greeter counts its connections, greets, and answers what it gets.
type greeter struct {
	addr  netip.AddrPort
	total atomic.Int64
	open  atomic.Int64
}

func newGreeter(t *testing.T, greeting string) *greeter {
	l := loopback(t)
	t.Cleanup(func() { l.Close() })
	g := &greeter{addr: netip.MustParseAddrPort(l.Addr().String())}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			g.total.Add(1)
			g.open.Add(1)
			go func() {
				defer g.open.Add(-1)
				defer c.Close()
				io.WriteString(c, greeting)
				io.Copy(c, c)
			}()
		}
	}()
	return g
}

// newUndecided is a sidecar before a server that is called in plain text.
func newUndecided(t *testing.T, server netip.AddrPort, domain string) *sidecar {
	return newSidecar(t, "client", newAuthority(t).identity(t, "client"), func(s *sidecar) {
		s.set("app", static("app", server))
		s.set("80", answering(domain))
		s.set("undecided", undecided("app"))
	})
}

func dialUndecided(t *testing.T, s *sidecar) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.addr("undecided").String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func readN(t *testing.T, c net.Conn, n int) string {
	t.Helper()
	b := make([]byte, n)
	k, err := io.ReadFull(c, b)
	if err != nil {
		t.Fatalf("%q, %v", b[:k], err)
	}
	return string(b)
}

func ask(t *testing.T, c net.Conn) string {
	t.Helper()
	io.WriteString(c, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// TestServerSpeaksFirst: on a port that declares nothing, the first byte of either
// side decides. Servers that greet do so within a few milliseconds, and a client that
// is slow to speak HTTP is served all the same.
func TestServerSpeaksFirst(t *testing.T) {
	t.Run("the server", func(t *testing.T) {
		app := newGreeter(t, "hello\n")
		s := newUndecided(t, app.addr, "*")
		var best time.Duration
		for range 10 {
			start := time.Now()
			c := dialUndecided(t, s)
			if got := readN(t, c, 6); got != "hello\n" {
				t.Fatalf("%q", got)
			}
			if d := time.Since(start); best == 0 || d < best {
				best = d
			}
			// What looks like HTTP afterwards is the client's own affair.
			io.WriteString(c, "GET / HTTP/1.1\r\n\r\n")
			if got := readN(t, c, 18); got != "GET / HTTP/1.1\r\n\r\n" {
				t.Fatalf("%q", got)
			}
		}
		if best > 10*time.Millisecond {
			t.Errorf("the greeting took %v at best", best)
		}
	})
	t.Run("a slow client of HTTP", func(t *testing.T) {
		app := newGreeter(t, "")
		s := newUndecided(t, app.addr, "*")
		c := dialUndecided(t, s)
		time.Sleep(50 * time.Millisecond)
		if got := ask(t, c); got != "HTTP/1.1 200 OK" {
			t.Fatal(got)
		}
		eventually(t, func() string {
			if app.open.Load() != 0 {
				return "the connection that was opened for the silence stays open"
			}
			return ""
		})
	})
	t.Run("a client of HTTP before a greeting", func(t *testing.T) {
		s := newUndecided(t, newGreeter(t, "hello\n").addr, "*")
		if got := ask(t, dialUndecided(t, s)); got != "HTTP/1.1 200 OK" {
			t.Fatal(got)
		}
	})
	t.Run("both silent, then the client", func(t *testing.T) {
		app := newGreeter(t, "")
		c := dialUndecided(t, newUndecided(t, app.addr, "*"))
		time.Sleep(50 * time.Millisecond)
		io.WriteString(c, "\x00\x01ping")
		if got := readN(t, c, 6); got != "\x00\x01ping" {
			t.Fatalf("%q", got)
		}
		if n := app.total.Load(); n != 1 {
			t.Errorf("the server had %d connections, want the one that was opened", n)
		}
	})
	t.Run("a server that is not there", func(t *testing.T) {
		l := loopback(t)
		dead := netip.MustParseAddrPort(l.Addr().String())
		l.Close()
		c := dialUndecided(t, newUndecided(t, dead, "*"))
		time.Sleep(50 * time.Millisecond)
		if got := ask(t, c); got != "HTTP/1.1 200 OK" {
			t.Fatal(got)
		}
	})
	t.Run("a silent client that goes", func(t *testing.T) {
		app := newGreeter(t, "")
		c := dialUndecided(t, newUndecided(t, app.addr, "*"))
		time.Sleep(50 * time.Millisecond)
		c.Close()
		eventually(t, func() string {
			if n := app.open.Load(); n != 0 {
				return strconv.FormatInt(n, 10) + " connections stay open"
			}
			return ""
		})
	})
	t.Run("declared HTTP", func(t *testing.T) {
		app := newGreeter(t, "hello\n")
		c := dialUndecided(t, newUndecided(t, app.addr, "127.0.0.1"))
		time.Sleep(50 * time.Millisecond)
		if n := app.total.Load(); n != 0 {
			t.Fatalf("silence opened %d connections to a port of HTTP", n)
		}
		if got := ask(t, c); got != "HTTP/1.1 404 Not Found" {
			t.Fatal(got)
		}
	})
}
