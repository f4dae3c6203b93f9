package http2_test

import (
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/cert"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
)

// relay forwards each request, with its body if that has come, on one connection.
type relay struct{ c *http2.ClientConn }

// relayed is one forwarded exchange; its pool keeps the benchmark from measuring
// itself.
type relayed struct {
	x    stream.Exchange
	body stream.Body
}

var relayPool = sync.Pool{New: func() any { return new(relayed) }}

func (f *relay) Handle(s *stream.Stream) (*stream.Response, error) {
	x, err := f.c.Open(s)
	if err != nil {
		return nil, err
	}
	s.Enter(x)
	if err := f.send(x, &s.Request); err != nil {
		return nil, err
	}
	resp, err := x.Receive()
	s.Enter(nil)
	if err != nil {
		return nil, err
	}
	r := relayPool.Get().(*relayed)
	r.x, r.body = x, resp.Body
	resp.Body = r
	return resp, nil
}

func (f *relay) send(x stream.Exchange, r *stream.Request) error {
	if r.Body == nil {
		return x.Send(r, nil, true)
	}
	p, err := r.Body.Next()
	if err != nil && err != io.EOF {
		return err
	}
	_, complete := r.Body.Buffered()
	if err := x.Send(r, p, complete); err != nil || complete {
		return err
	}
	for {
		p, err := r.Body.Next()
		if err == io.EOF {
			return x.Write(nil, true)
		}
		if err == nil {
			err = x.Write(p, false)
		}
		if err != nil {
			return err
		}
	}
}

func (r *relayed) Next() ([]byte, error)  { return r.body.Next() }
func (r *relayed) Buffered() (int, bool)  { return r.body.Buffered() }
func (r *relayed) Trailers() *stream.Head { return r.body.Trailers() }
func (r *relayed) Close(reason stream.Reason) {
	r.body.Close(reason)
	r.x.Release()
	*r = relayed{}
	relayPool.Put(r)
}

// kilo answers a kilobyte, from pooled memory.
type kilo struct {
	resp stream.Response
	p    [1024]byte
	done bool
}

var kilos = sync.Pool{New: func() any { return new(kilo) }}

func (k *kilo) Next() ([]byte, error) {
	if k.done {
		return nil, io.EOF
	}
	k.done = true
	return k.p[:], nil
}
func (k *kilo) Buffered() (int, bool) {
	if k.done {
		return 0, true
	}
	return len(k.p), true
}
func (k *kilo) Trailers() *stream.Head { return nil }
func (k *kilo) Close(stream.Reason)    {}
func (k *kilo) Recycle()               { kilos.Put(k) }

func origin(s *stream.Stream) (*stream.Response, error) {
	k := kilos.Get().(*kilo)
	k.done = false
	k.resp.Head.Reset()
	k.resp.Status, k.resp.Length, k.resp.Body = 200, 1024, k
	k.resp.AddString(stream.ContentType, "application/json")
	k.resp.AddString(stream.Server, "origin")
	s.OnRecycle(k)
	return &k.resp, nil
}

var benchOptions = http2.ServerOptions{IdleTimeout: time.Hour, StreamIdleTimeout: 5 * time.Minute}

// get makes one exchange.
func get(c *http2.ClientConn, s *stream.Stream, r *stream.Request) error {
	x, err := c.Open(s)
	if err != nil {
		return err
	}
	if err := x.Send(r, nil, true); err != nil {
		return err
	}
	resp, err := x.Receive()
	if err != nil {
		return err
	}
	for {
		if _, err := resp.Body.Next(); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	x.Release()
	return nil
}

func benchRequest() *stream.Request {
	r := &stream.Request{Method: []byte("GET"), Scheme: []byte("http"), Authority: []byte("productpage:9080"), Path: []byte("/productpage")}
	r.AddString(stream.UserAgent, "bench")
	r.AddString(stream.N("accept"), "*/*")
	return r
}

// BenchmarkExchange is client and server on a loopback socket in one process.
func BenchmarkExchange(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(map[int]string{1: "one", 16: "sixteen"}[n], func(b *testing.B) {
			down, up := socket.Pair(b, socket.Listen(b))
			go http2.NewServerConn(up, &stream.Conn{}, benchOptions).Serve(stream.HandlerFunc(origin))
			drive(b, http2.NewClientConn(down, http2.ClientOptions{}), n)
		})
	}
}

// BenchmarkHop puts a proxy between them; "TLS" has it between proxy and origin.
func BenchmarkHop(b *testing.B) {
	for _, bb := range []struct {
		name    string
		streams int
		secure  bool
	}{{"one", 1, false}, {"sixteen", 16, false}, {"sixteenTLS", 16, true}} {
		b.Run(bb.name, func(b *testing.B) {
			l := socket.Listen(b)
			client, down := socket.Pair(b, l)
			a, o := socket.Pair(b, l)
			var up, org rawio.Transport = a, o
			if bb.secure {
				sc, cc := cert.TLS(b)
				up, org = rawio.ClientTLS(a, cc), rawio.ServerTLS(o, sc)
			}
			go http2.NewServerConn(org, &stream.Conn{}, benchOptions).Serve(stream.HandlerFunc(origin))
			cc := http2.NewClientConn(up, http2.ClientOptions{})
			go http2.NewServerConn(down, &stream.Conn{}, benchOptions).Serve(&relay{cc})
			drive(b, http2.NewClientConn(client, http2.ClientOptions{}), bb.streams)
			cc.Close(stream.Reason{})
		})
	}
}

// drive makes b.N exchanges, n at a time.
func drive(b *testing.B, c *http2.ClientConn, n int) {
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			r, s := benchRequest(), &stream.Stream{}
			for left.Add(-1) >= 0 {
				if err := get(c, s, r); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	c.Close(stream.Reason{})
}

// BenchmarkBulk is the throughput of large responses on one stream.
func BenchmarkBulk(b *testing.B) {
	down, up := socket.Pair(b, socket.Listen(b))
	go http2.NewServerConn(up, &stream.Conn{}, benchOptions).Serve(stream.HandlerFunc(func(*stream.Stream) (*stream.Response, error) {
		return &stream.Response{Status: 200, Length: 1 << 20, Body: stream.NewBody(make([]byte, 1<<20))}, nil
	}))
	b.SetBytes(1 << 20)
	drive(b, http2.NewClientConn(down, http2.ClientOptions{}), 1)
}
