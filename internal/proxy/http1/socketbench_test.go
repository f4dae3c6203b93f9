package http1_test

import (
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/cert"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
)

// relay forwards each request on one connection.
type relay struct {
	c    *http1.ClientConn
	x    stream.Exchange
	body stream.Body
}

func (f *relay) Handle(s *stream.Stream) (*stream.Response, error) {
	x, err := f.c.Open(s)
	if err != nil {
		return nil, err
	}
	f.x = x
	s.Enter(x)
	if err := x.Send(&s.Request, nil, true); err != nil {
		return nil, err
	}
	resp, err := x.Receive()
	if err != nil {
		return nil, err
	}
	f.body, resp.Body = resp.Body, f
	return resp, nil
}

func (f *relay) Next() ([]byte, error)  { return f.body.Next() }
func (f *relay) Buffered() (int, bool)  { return f.body.Buffered() }
func (f *relay) Trailers() *stream.Head { return f.body.Trailers() }
func (f *relay) Close(r stream.Reason) {
	f.body.Close(r)
	f.x.Release()
}

// BenchmarkHop is client, proxy and origin on loopback sockets in one process, one
// request at a time; "TLS" has it between the proxy and the origin.
func BenchmarkHop(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchHop(b, false) })
	b.Run("TLS", func(b *testing.B) { benchHop(b, true) })
}

func benchHop(b *testing.B, secure bool) {
	w := watch(b)
	l := socket.Listen(b)
	client, down := socket.Pair(b, l)
	a, o := socket.Pair(b, l)
	var up, origin rawio.Transport = a, o
	if secure {
		sc, cc := cert.TLS(b)
		up, origin = rawio.ClientTLS(a, cc), rawio.ServerTLS(o, sc)
	}
	kilo := make([]byte, 1024)
	opts := http1.ServerOptions{Watch: w, IdleTimeout: time.Hour, StreamIdleTimeout: 5 * time.Minute}
	go http1.NewServerConn(origin, &stream.Conn{}, opts).Serve(stream.HandlerFunc(func(*stream.Stream) (*stream.Response, error) {
		return &stream.Response{Status: 200, Length: 1024, Body: stream.NewBody(kilo)}, nil
	}))
	cc := http1.NewClientConn(up, http1.ClientOptions{Watch: w})
	go http1.NewServerConn(down, &stream.Conn{}, opts).Serve(&relay{c: cc})
	req, buf := []byte("GET /productpage HTTP/1.1\r\nHost: productpage:9080\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"), make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(req); err != nil {
			b.Fatal(err)
		}
		for n := 0; n < 1024+30; {
			k, err := client.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			n += k
		}
	}
	client.Close()
	cc.Close(stream.Reason{})
}
