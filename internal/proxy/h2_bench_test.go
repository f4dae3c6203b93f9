package proxy_test

import (
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// BenchmarkHTTP2Hop is one request through a proxy with HTTP/2 on both sides, from
// and to our own codec on loopback: 32 streams on one connection, bodies of 32 bytes.
func BenchmarkHTTP2Hop(b *testing.B) {
	l := benchEndpoint(b)
	h := newHop(b, combination{"h2", "h2"}, l, "")
	c, err := rawio.Dial(b.Context(), rawio.HostSockets{}, netip.Addr{}, netip.MustParseAddrPort(strings.TrimPrefix(h.base, "http://")), rawio.DialOptions{})
	if err != nil {
		b.Fatal(err)
	}
	cc := http2.NewClientConn(c, http2.ClientOptions{})
	b.Cleanup(func() { cc.Close(stream.Reason{}) })
	body := make([]byte, 32)
	b.ReportAllocs()
	b.ResetTimer()
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			r := requestHTTP2("POST", "a", "/", "")
			r.AddString(stream.ContentType, "application/grpc")
			r.Length = -1
			for range b.N / 32 {
				if err := benchCall(cc, r, body); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func benchCall(cc *http2.ClientConn, r *stream.Request, body []byte) error {
	x, err := cc.Open(nil)
	if err != nil {
		return err
	}
	defer x.Release()
	if err := x.Send(r, body, true); err != nil {
		return err
	}
	resp, err := x.Receive()
	if err != nil || resp.Body == nil {
		return err
	}
	for {
		if _, err := resp.Body.Next(); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// benchEndpoint answers every request with 32 bytes and trailers.
func benchEndpoint(b *testing.B) netip.AddrPort {
	b.Helper()
	fds, err := rawio.HostSockets{}.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		b.Fatal(err)
	}
	l, err := rawio.Listen(fds[0])
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	body := make([]byte, 32)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go http2.NewServerConn(c, &stream.Conn{}, http2.ServerOptions{}).Serve(stream.HandlerFunc(func(s *stream.Stream) (*stream.Response, error) {
				resp := &stream.Response{Status: 200, Length: -1, Body: stream.NewBody(body)}
				resp.AddString(stream.ContentType, "application/grpc")
				return resp, nil
			}))
		}
	}()
	return l.Addr()
}
