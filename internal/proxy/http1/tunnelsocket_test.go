package http1_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/cert"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
)

// counted is a tunnel as a router wraps it.
type counted struct {
	stream.Duplex
	read int64 // of the reading goroutine
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Duplex.Read(p)
	c.read += int64(n)
	return n, err
}

func (c *counted) Socket() *rawio.Conn {
	return c.Duplex.(interface{ Socket() *rawio.Conn }).Socket()
}

func (c *counted) Spliced(read, _ int) {
	if read > 0 {
		c.read += int64(read)
	}
}

type outcomes chan stream.Outcome

func (o outcomes) Done(_ *stream.Stream, r *stream.Outcome) { o <- *r }

// TestTunnelOnSockets passes much and little through a CONNECT tunnel, both ways,
// with half-close: between plain sockets, which are spliced, and with TLS upstream.
func TestTunnelOnSockets(t *testing.T) {
	for _, secure := range []bool{false, true} {
		name := "plain"
		if secure {
			name = "TLS"
		}
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{100, 8 << 20} {
				tunnelOnce(t, secure, size)
			}
		})
	}
}

func tunnelOnce(t *testing.T, secure bool, size int) {
	l := socket.Listen(t)
	client, down := socket.Pair(t, l)
	near, far := socket.Pair(t, l)
	var up, origin rawio.Transport = near, far
	if secure {
		sc, cc := cert.TLS(t)
		up, origin = rawio.ClientTLS(near, cc), rawio.ServerTLS(far, sc)
	}
	cc := http1.NewClientConn(up, http1.ClientOptions{})
	var tunnel *counted
	done := make(outcomes, 1)
	served := make(chan stream.Reason, 1)
	go func() {
		o := http1.ServerOptions{Observers: []stream.Observer{done}}
		served <- http1.NewServerConn(down, &stream.Conn{}, o).Serve(stream.HandlerFunc(func(s *stream.Stream) (*stream.Response, error) {
			resp, err := (&relay{c: cc}).Handle(s)
			if err != nil {
				return nil, err
			}
			tunnel = &counted{Duplex: resp.Tunnel}
			resp.Body, resp.Tunnel = nil, tunnel
			return resp, nil
		}))
	}()
	for _, c := range []rawio.Transport{client, origin} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
	}
	io.WriteString(client, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
	until(t, origin, "\r\n\r\n")
	io.WriteString(origin, "HTTP/1.1 200 OK\r\n\r\nearly")
	until(t, client, "\r\n\r\nearly")
	oneWay(t, client, origin, size)
	oneWay(t, origin, client, size)
	if r := <-served; r.Code != stream.None {
		t.Errorf("ended with %+v", r)
	}
	o := <-done
	if tunnel.read != int64(size)+5 || o.BytesReceived != int64(size) || o.BytesSent != int64(size)+5 {
		t.Errorf("%d read from upstream; %d received and %d sent, of %d", tunnel.read, o.BytesReceived, o.BytesSent, size)
	}
	cc.Close(stream.Reason{})
}

func until(t *testing.T, r io.Reader, marker string) {
	t.Helper()
	var got []byte
	for p := make([]byte, 1); !bytes.HasSuffix(got, []byte(marker)); got = append(got, p[0]) {
		if _, err := r.Read(p); err != nil {
			t.Fatalf("waiting for %q: %v after %q", marker, err, got)
		}
	}
}

func oneWay(t *testing.T, from, to rawio.Transport, size int) {
	t.Helper()
	want := make([]byte, size)
	for i := range want {
		want[i] = byte(i * 7 >> 3)
	}
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(want)
		if err == nil {
			err = from.CloseWrite()
		}
		sent <- err
	}()
	got, err := io.ReadAll(to)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes arrived, %v, or they differ", len(got), size, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}
