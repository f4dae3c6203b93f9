package httpbin_test

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/samples/httpbin"
)

// TestWebSocket speaks the protocol by its bytes: the handshake's example is that
// of RFC 6455, section 1.3.
func TestWebSocket(t *testing.T) {
	srv := httptest.NewServer(httpbin.Handler())
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	io.WriteString(c, "GET /websocket/echo HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	r := bufio.NewReader(c)
	var head strings.Builder
	for !strings.HasSuffix(head.String(), "\r\n\r\n") {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		head.WriteString(line)
	}
	if !strings.HasPrefix(head.String(), "HTTP/1.1 101 ") || !strings.Contains(head.String(), "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n") {
		t.Fatalf("%s", head.String())
	}
	long := bytes.Repeat([]byte("x"), 70_000)
	for _, f := range []struct {
		name       string
		sent, want []byte
	}{
		{"text", masked(0x81, 2, "hi"), append([]byte{0x81, 2}, "hi"...)},
		{"a fragment", masked(0x01, 1, "h"), append([]byte{0x01, 1}, "h"...)},
		{"16 bits", masked(0x82, 126, string(long[:300]), 1, 44), append([]byte{0x82, 126, 1, 44}, long[:300]...)},
		{"64 bits", masked(0x82, 127, string(long), 0, 0, 0, 0, 0, 1, 17, 112), append([]byte{0x82, 127, 0, 0, 0, 0, 0, 1, 17, 112}, long...)},
		{"ping", masked(0x89, 1, "p"), append([]byte{0x8a, 1}, "p"...)},
		{"close", masked(0x88, 2, "\x03\xe8"), []byte{0x88, 2, 3, 0xe8}},
	} {
		if _, err := c.Write(f.sent); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		got := make([]byte, len(f.want))
		if _, err := io.ReadFull(r, got); err != nil || !bytes.Equal(got, f.want) {
			t.Fatalf("%s: %v %.20x, want %.20x", f.name, err, got, f.want)
		}
	}
	if _, err := r.ReadByte(); err != io.EOF {
		t.Errorf("after close: %v", err)
	}
}

// masked makes a frame of a client.
func masked(first, length byte, body string, extra ...byte) []byte {
	mask := []byte{1, 2, 3, 4}
	out := append([]byte{first, 0x80 | length}, extra...)
	out = append(out, mask...)
	for i := range len(body) {
		out = append(out, body[i]^mask[i%4])
	}
	return out
}

func TestWebSocketWantsAnUpgrade(t *testing.T) {
	w := httptest.NewRecorder()
	httpbin.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/websocket/echo", nil))
	if w.Code != 426 || w.Header().Get("Sec-WebSocket-Version") != "13" {
		t.Errorf("%d %v", w.Code, w.Header())
	}
}
