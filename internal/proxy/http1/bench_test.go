package http1

import (
	"io"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// benchHead is about 600 bytes in 11 fields, as browsers and meshes send.
const benchHead = "GET /productpage?u=normal HTTP/1.1\r\n" +
	"Host: productpage.default.svc.cluster.local:9080\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\n" +
	"Accept-Language: en-GB,en;q=0.5\r\n" +
	"Cookie: session=eyJ1c2VyIjoiamFzb24ifQ.Z0ABCD.0123456789abcdefghij\r\n" +
	"X-Request-Id: 5e0e3a6c-1111-4222-8333-444455556666\r\n" +
	"X-B3-TraceId: 0af7651916cd43dd8448eb211c80319c\r\n" +
	"X-B3-SpanId: b7ad6b7169203331\r\n" +
	"X-B3-Sampled: 1\r\n" +
	"X-Forwarded-Proto: http\r\n\r\n"

func BenchmarkParseRequest(b *testing.B) {
	raw := []byte(benchHead)
	var r stream.Request
	var f framing
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if err := parseRequest(&r, raw, 100, &f); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWriteRequest(b *testing.B) {
	var r stream.Request
	var f framing
	if err := parseRequest(&r, []byte(benchHead), 100, &f); err != nil {
		b.Fatal(err)
	}
	_, server := pipe.New()
	c := NewClientConn(server, ClientOptions{})
	b.ReportAllocs()
	for b.Loop() {
		c.x.plan(&r, 0, true)
		c.x.writeHead(&r)
		c.out.drop()
	}
}

var kilo = make([]byte, 1024)

// fixed is a body that is read again and again.
type fixed struct{ left []byte }

func (f *fixed) Next() ([]byte, error) {
	if len(f.left) == 0 {
		return nil, io.EOF
	}
	p := f.left
	f.left = nil
	return p, nil
}
func (f *fixed) Buffered() (int, bool)  { return len(f.left), true }
func (f *fixed) Trailers() *stream.Head { return nil }
func (f *fixed) Close(stream.Reason)    {}

// kiloHandler answers 1 KiB without garbage.
func kiloHandler() stream.HandlerFunc {
	body := &fixed{}
	resp := &stream.Response{}
	return func(*stream.Stream) (*stream.Response, error) {
		body.left = kilo
		resp.Reset()
		resp.Status, resp.Length, resp.Body = 200, int64(len(kilo)), body
		resp.AddString(stream.ContentType, "text/plain")
		return resp, nil
	}
}

func benchServe(b *testing.B, h stream.Handler) {
	client, server := pipe.New()
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewServerConn(server, &stream.Conn{}, ServerOptions{IdleTimeout: 3600e9, StreamIdleTimeout: 300e9, RequestTimeout: 15e9}).Serve(h)
	}()
	req, buf := []byte(benchHead), make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := client.Write(req); err != nil {
			b.Fatal(err)
		}
		n := 0
		for n < 1024+60 {
			k, err := client.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			n += k
		}
	}
	client.Close()
	<-done
}

func BenchmarkServerRoundTrip(b *testing.B) { benchServe(b, kiloHandler()) }

// BenchmarkProxy is the loop of a hop: parse, forward, parse, answer.
func BenchmarkProxy(b *testing.B) {
	up, origin := pipe.New()
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewServerConn(origin, &stream.Conn{}, ServerOptions{}).Serve(kiloHandler())
	}()
	c := NewClientConn(up, ClientOptions{})
	benchServe(b, newForward(c))
	c.Close(stream.Reason{})
	<-done
}

// forward is the least router: one connection, no retries, and a body that
// releases the exchange.
type forward struct {
	c    *ClientConn
	x    stream.Exchange
	body stream.Body
}

func newForward(c *ClientConn) *forward { return &forward{c: c} }

func (f *forward) Handle(s *stream.Stream) (*stream.Response, error) {
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

func (f *forward) Next() ([]byte, error)  { return f.body.Next() }
func (f *forward) Buffered() (int, bool)  { return f.body.Buffered() }
func (f *forward) Trailers() *stream.Head { return f.body.Trailers() }
func (f *forward) Close(r stream.Reason) {
	f.body.Close(r)
	f.x.Release()
}

func BenchmarkClientRoundTrip(b *testing.B) {
	up, origin := pipe.New()
	done := make(chan struct{})
	go func() {
		defer close(done)
		NewServerConn(origin, &stream.Conn{}, ServerOptions{}).Serve(kiloHandler())
	}()
	c := NewClientConn(up, ClientOptions{})
	var r stream.Request
	var f framing
	if err := parseRequest(&r, []byte(benchHead), 100, &f); err != nil {
		b.Fatal(err)
	}
	s := &stream.Stream{}
	b.ReportAllocs()
	for b.Loop() {
		x, err := c.Open(s)
		if err != nil {
			b.Fatal(err)
		}
		if err := x.Send(&r, nil, true); err != nil {
			b.Fatal(err)
		}
		resp, err := x.Receive()
		if err != nil {
			b.Fatal(err)
		}
		for {
			if _, err := resp.Body.Next(); err != nil {
				break
			}
		}
		if !x.Release() {
			b.Fatal("not reusable")
		}
	}
	c.Close(stream.Reason{})
	<-done
}
