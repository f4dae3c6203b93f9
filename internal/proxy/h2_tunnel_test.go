package proxy_test

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
)

// loop is a tunnel that gives back what is written into it.
type loop struct {
	*io.PipeReader
	w *io.PipeWriter
}

func newLoop() *loop                        { r, w := io.Pipe(); return &loop{r, w} }
func (l *loop) Write(p []byte) (int, error) { return l.w.Write(p) }
func (l *loop) CloseWrite() error           { return l.w.Close() }
func (l *loop) Close() error                { _ = l.w.Close(); return l.PipeReader.Close() }

// accepts is the value of Sec-WebSocket-Accept for a key (RFC 6455 §4.2.2).
func accepts(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// tunnels is an endpoint that accepts upgrades and CONNECT in one version, and gives
// back what it is sent. broken makes it answer the key wrongly, refuse not at all.
func tunnels(t *testing.T, version, broken string) netip.AddrPort {
	if version == "h2" {
		return tunnelsHTTP2(t)
	}
	return server(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if broken == "plain" {
			io.WriteString(w, "no upgrade")
			return
		}
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		head := "HTTP/1.1 200 OK\r\n\r\n"
		if r.Method != "CONNECT" {
			accept := accepts(r.Header.Get("Sec-WebSocket-Key"))
			if r.Header.Get("Sec-WebSocket-Version") != "13" || r.Header.Get("Sec-WebSocket-Key") == "" || broken == "accept" {
				accept = "wrong"
			}
			head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: " + accept + "\r\n\r\n"
		}
		io.WriteString(c, head)
		io.Copy(c, rw)
	}))
}

func tunnelsHTTP2(t *testing.T) netip.AddrPort {
	t.Helper()
	l := socket.Listen(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var conns []*http2.ServerConn
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s := http2.NewServerConn(c, &stream.Conn{}, http2.ServerOptions{Upgrades: []string{"websocket"}})
			mu.Lock()
			conns = append(conns, s)
			mu.Unlock()
			wg.Go(func() {
				s.Serve(stream.HandlerFunc(func(s *stream.Stream) (*stream.Response, error) {
					if s.Request.Upgrade == "" && string(s.Request.Method) != "CONNECT" {
						return &stream.Response{Status: 200}, nil
					}
					return &stream.Response{Status: 200, Tunnel: newLoop()}, nil
				}))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for _, s := range conns {
			s.Close(stream.Reason{})
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr()
}

// exchangeHTTP2 opens an exchange with our own client, which knows extended CONNECT.
func exchangeHTTP2(t *testing.T, h *hop, r *stream.Request) (stream.Exchange, *stream.Response) {
	t.Helper()
	c, err := rawio.Dial(t.Context(), rawio.HostSockets{}, netip.Addr{}, netip.MustParseAddrPort(strings.TrimPrefix(h.base, "http://")), rawio.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cc := http2.NewClientConn(c, http2.ClientOptions{})
	t.Cleanup(func() { cc.Close(stream.Reason{}) })
	x, err := cc.Open(&stream.Stream{})
	if err != nil {
		t.Fatal(err)
	}
	if err := x.Send(r, nil, false); err != nil {
		t.Fatal(err)
	}
	resp, err := x.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return x, resp
}

func requestHTTP2(method, authority, path, upgrade string) *stream.Request {
	return &stream.Request{Proto: stream.HTTP2, Method: []byte(method), Scheme: []byte("http"), Authority: []byte(authority), Path: []byte(path), Upgrade: upgrade}
}

// echoes sends something through a tunnel, ends its direction and reads all back.
func echoes(t *testing.T, d stream.Duplex) {
	t.Helper()
	if _, err := d.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 4)
	if _, err := io.ReadFull(d, got); err != nil || string(got) != "ping" {
		t.Fatalf("%q, %v", got, err)
	}
	if _, err := d.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	if err := d.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if rest, err := io.ReadAll(d); err != nil || string(rest) != "last" {
		t.Fatalf("%q, %v", rest, err)
	}
}

// plainTunnel is a connection after its head.
type plainTunnel struct {
	io.Reader
	io.WriteCloser
}

func (p plainTunnel) CloseWrite() error {
	return p.WriteCloser.(interface{ CloseWrite() error }).CloseWrite()
}

// tunnelHTTP1 asks for a tunnel over HTTP/1.1.
func tunnelHTTP1(t *testing.T, h *hop, head string) (*http.Response, stream.Duplex) {
	t.Helper()
	c := h.dial(t)
	io.WriteString(c, head)
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, &http.Request{Method: strings.Fields(head)[0]})
	if err != nil {
		t.Fatal(err)
	}
	return resp, plainTunnel{r, c}
}

// TestTunnels: WebSocket and CONNECT over all four combinations: what is an upgrade
// on one side is extended CONNECT on the other (RFC 8441).
func TestTunnels(t *testing.T) {
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	for _, c := range combinations {
		t.Run(c.down+" to "+c.up, func(t *testing.T) {
			h := newHop(t, c, tunnels(t, c.up, ""), "")
			t.Run("WebSocket", func(t *testing.T) {
				if c.down == "h1" {
					resp, d := tunnelHTTP1(t, h, "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: "+key+"\r\n\r\n")
					if resp.StatusCode != 101 || resp.Header.Get("Upgrade") != "websocket" || resp.Header.Get("Sec-WebSocket-Accept") != accepts(key) {
						t.Fatalf("%v", resp)
					}
					echoes(t, d)
					return
				}
				_, resp := exchangeHTTP2(t, h, requestHTTP2("GET", "a", "/chat", "websocket"))
				if resp.Tunnel == nil || resp.Has(stream.N("sec-websocket-accept")) {
					t.Fatalf("%d %v", resp.Status, resp)
				}
				echoes(t, resp.Tunnel)
			})
			t.Run("CONNECT", func(t *testing.T) {
				if c.down == "h1" {
					resp, d := tunnelHTTP1(t, h, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
					if resp.StatusCode != 200 {
						t.Fatalf("%v", resp)
					}
					echoes(t, d)
					return
				}
				_, resp := exchangeHTTP2(t, h, requestHTTP2("CONNECT", "a:80", "", ""))
				if resp.Status != 200 || resp.Tunnel == nil {
					t.Fatalf("%d %v", resp.Status, resp)
				}
				echoes(t, resp.Tunnel)
			})
		})
	}
}

// TestTunnelsRefused: over HTTP/2 a 2xx means that the tunnel stands, so that an
// endpoint which did not switch has to be told apart.
func TestTunnelsRefused(t *testing.T) {
	for broken, want := range map[string]string{"plain": "did not switch", "accept": "does not answer the key"} {
		t.Run(broken, func(t *testing.T) {
			h := newHop(t, combination{"h2", "h1"}, tunnels(t, "h1", broken), "")
			_, resp := exchangeHTTP2(t, h, requestHTTP2("GET", "a", "/chat", "websocket"))
			if why := string(resp.Get(stream.N("x-lateen-reason"))); resp.Status != 502 || resp.Tunnel != nil || !strings.Contains(why, want) {
				t.Errorf("%d, %s", resp.Status, why)
			}
		})
	}
	t.Run("not offered", func(t *testing.T) {
		// Go's server does not take extended CONNECT.
		h := newHop(t, combination{"h1", "h2"}, server(t, http.NotFoundHandler()), "")
		if resp := h.do(t, "GET", "/", nil); resp.StatusCode != 404 { // its settings are known now
			t.Fatalf("%d", resp.StatusCode)
		}
		resp, _ := tunnelHTTP1(t, h, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		if why := resp.Header.Get("X-Lateen-Reason"); resp.StatusCode < 500 || !strings.Contains(why, "extended CONNECT") {
			t.Errorf("%d %s", resp.StatusCode, why)
		}
	})
}
