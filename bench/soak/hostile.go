package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// hang is how long the proxy may leave a hostile exchange without any end: the
// longest time-out that is configured for it, and much for a loaded machine.
const hang = 20 * time.Second

var errHangs = errors.New("no answer and no end")

// hostile is clients that misbehave, and clients of the application that does.
// Whatever they get is right, as long as it ends.
type hostile struct{ ports ports }

// act does one thing, chosen at random.
func (h hostile) act(r *rand.Rand) (kind string, err error) {
	if r.IntN(2) == 0 {
		path := hostilePaths[r.IntN(len(hostilePaths))]
		return "origin" + path, h.provoke(path, r.IntN(2) == 0)
	}
	name := hostileNames[r.IntN(len(hostileNames))]
	to := h.ports.http
	if r.IntN(8) == 0 {
		to = h.ports.mesh // the server's sidecar, which expects TLS
	}
	c, err := net.DialTimeout("tcp", to.String(), hang)
	if err != nil {
		return name, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(hang)); err != nil {
		return name, err
	}
	if err = hostileClients[name](c.(*net.TCPConn), r); errors.Is(err, os.ErrDeadlineExceeded) {
		return name, errHangs
	}
	return name, nil
}

var (
	hostilePaths = append(slices.Sorted(maps.Keys(misdeeds)), "/closed")
	hostileNames = slices.Sorted(maps.Keys(hostileClients))
)

// provoke sends a request to the hostile application and reads whatever comes, to
// its end.
func (h hostile) provoke(path string, post bool) error {
	k, err := dialHTTP(h.ports.http)
	if err != nil {
		return err
	}
	defer k.conn.Close()
	if err := k.conn.SetDeadline(time.Now().Add(hang)); err != nil {
		return err
	}
	text := fmt.Sprintf("GET %s HTTP/1.1\r\nhost: %s\r\n\r\n", path, hostileHost)
	if post {
		text = fmt.Sprintf("POST %s HTTP/1.1\r\nhost: %s\r\ncontent-length: %d\r\n\r\n%s", path, hostileHost, 64<<10, pattern("p", 64<<10))
	}
	_, err = io.WriteString(k.conn, text)
	if err == nil {
		var resp *http.Response
		if resp, err = http.ReadResponse(k.in, nil); err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return errHangs
	}
	return nil
}

func head(method, path, more string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nhost: %s\r\n%s", method, path, steadyHost, more)
}

// abort resets the connection.
func abort(c *net.TCPConn) error { return c.SetLinger(0) }

// hostileClients misbehave towards the proxy. Their errors do not matter, but that
// they end.
var hostileClients = map[string]func(*net.TCPConn, *rand.Rand) error{
	"connect-only":  func(*net.TCPConn, *rand.Rand) error { return nil },
	"reset-at-once": func(c *net.TCPConn, _ *rand.Rand) error { return abort(c) },
	"reset-mid-head": func(c *net.TCPConn, _ *rand.Rand) error {
		send(c, head("GET", "/echo", "x-half: "))
		return abort(c)
	},
	"reset-mid-body": func(c *net.TCPConn, r *rand.Rand) error {
		send(c, head("POST", "/echo", "content-length: 100000\r\n\r\n")+strings.Repeat("x", r.IntN(90000)))
		return abort(c)
	},
	"leave-mid-chunk": func(c *net.TCPConn, _ *rand.Rand) error {
		send(c, head("POST", "/echo", "transfer-encoding: chunked\r\n\r\nffff\r\nabc"))
		return nil
	},
	"leave-before-answer": func(c *net.TCPConn, _ *rand.Rand) error {
		send(c, head("GET", "/echo", "\r\n"))
		return nil
	},
	"half-close": func(c *net.TCPConn, _ *rand.Rand) error { // a FIN before the answer cancels
		send(c, head("GET", "/echo", "\r\n"))
		if err := c.CloseWrite(); err != nil {
			return nil
		}
		_, err := io.Copy(io.Discard, c)
		return err
	},
	"slow-reader": func(c *net.TCPConn, r *rand.Rand) error {
		// Much smaller, and the kernel leaves the window shut for long by itself.
		if err := c.SetReadBuffer(64 << 10); err != nil {
			return err
		}
		send(c, strings.Replace(head("GET", "/large", "\r\n"), steadyHost, hostileHost, 1))
		buf := make([]byte, 16<<10)
		for range 20 {
			if _, err := c.Read(buf); err != nil {
				return err
			}
			time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
		}
		return abort(c)
	},
	"slow-writer": func(c *net.TCPConn, _ *rand.Rand) error {
		for _, b := range head("POST", "/echo", "content-length: 5\r\n\r\nhello") {
			if !send(c, string(b)) {
				return nil
			}
			time.Sleep(5 * time.Millisecond)
		}
		_, err := http.ReadResponse(bufio.NewReader(c), nil)
		return err
	},
	"never-finishes": func(c *net.TCPConn, _ *rand.Rand) error { // until the proxy's time-out
		send(c, head("GET", "/echo", "x-half: "))
		_, err := io.Copy(io.Discard, c)
		return err
	},
	"garbage": func(c *net.TCPConn, r *rand.Rand) error {
		b := make([]byte, 1+r.IntN(3000))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		send(c, string(b)+"\r\n\r\n")
		if err := c.CloseWrite(); err != nil {
			return nil
		}
		_, err := io.Copy(io.Discard, c)
		return err
	},
	"half-hello": func(c *net.TCPConn, _ *rand.Rand) error { // a TLS record that never ends
		send(c, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
		time.Sleep(50 * time.Millisecond)
		return abort(c)
	},
	"pipeline": func(c *net.TCPConn, _ *rand.Rand) error {
		send(c, strings.Repeat(head("GET", "/echo", "\r\n"), 10))
		in := bufio.NewReader(c)
		for range 5 {
			resp, err := http.ReadResponse(in, nil)
			if err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				return err
			}
		}
		return abort(c)
	},
	"tunnel-reset": func(c *net.TCPConn, _ *rand.Rand) error {
		send(c, head("GET", "/tunnel", "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"))
		if _, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil {
			return err
		}
		send(c, strings.Repeat("x", 50000))
		return abort(c)
	},
	"h2-resets": func(c *net.TCPConn, r *rand.Rand) error { return resetStreams(c, 1+r.IntN(20)) },
	"h2-leaves": func(c *net.TCPConn, _ *rand.Rand) error { _, err := openStreams(c, 5); return err },
	"h2-garbage": func(c *net.TCPConn, _ *rand.Rand) error {
		send(c, http2.ClientPreface+"\x00\x00\xff\x01\x05\x00\x00\x00\x02garbage")
		if err := c.CloseWrite(); err != nil {
			return nil
		}
		_, err := io.Copy(io.Discard, c)
		return err
	},
}

// openStreams begins HTTP/2 and some requests without their contents.
func openStreams(c *net.TCPConn, n int) (*http2.Framer, error) {
	send(c, http2.ClientPreface)
	f := http2.NewFramer(c, c)
	if err := f.WriteSettings(); err != nil {
		return f, nil
	}
	var block strings.Builder
	e := hpack.NewEncoder(&block)
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/echo"}, {":authority", mixedHost}} {
		if err := e.WriteField(hpack.HeaderField{Name: h[0], Value: h[1], Sensitive: true}); err != nil { // never in the table: one block for all
			return f, err
		}
	}
	for i := range n {
		if err := f.WriteHeaders(http2.HeadersFrameParam{StreamID: uint32(2*i + 1), BlockFragment: []byte(block.String()), EndHeaders: true}); err != nil {
			return f, nil
		}
		if err := f.WriteData(uint32(2*i+1), false, []byte("some of it")); err != nil {
			return f, nil
		}
	}
	return f, nil
}

// resetStreams resets what it opened, and leaves.
func resetStreams(c *net.TCPConn, n int) error {
	f, err := openStreams(c, n)
	if err != nil {
		return err
	}
	for i := range n {
		if err := f.WriteRSTStream(uint32(2*i+1), http2.ErrCodeCancel); err != nil {
			return nil
		}
	}
	return nil
}

// extra asks for the host that comes and goes, over its own listener.
func (h hostile) extra(to netip.AddrPort) {
	k, err := dialHTTP(to)
	if err != nil {
		return // it is not there
	}
	defer k.conn.Close()
	_, _ = k.do(message{method: http.MethodGet, host: extraHost, size: smallBody}, "0") // it may go under way
}
