package proxy_test

import (
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
	"golang.org/x/sys/unix"
)

// BenchmarkHTTP2Hop is requests through a proxy with HTTP/2 on both sides, from and to
// our own codec over loopback sockets, with bodies of 32 bytes. cpu-ns/op is what all
// three of them use of the processors, kernel's part included.
func BenchmarkHTTP2Hop(b *testing.B) {
	for _, bc := range []struct {
		name           string
		conns, streams int
	}{{"1 connection, 32 streams", 1, 32}, {"4 connections, 64 streams", 4, 64}, {"1 connection, 1 stream", 1, 1}} {
		b.Run(bc.name, func(b *testing.B) { benchHop(b, bc.conns, bc.streams) })
	}
}

func benchHop(b *testing.B, conns, streams int) {
	l := benchEndpoint(b)
	h := newHop(b, combination{"h2", "h2"}, l, "")
	clients := make([]*http2.ClientConn, conns)
	for i := range clients {
		c, err := rawio.Dial(b.Context(), rawio.HostSockets{}, netip.Addr{}, netip.MustParseAddrPort(strings.TrimPrefix(h.base, "http://")), rawio.DialOptions{})
		if err != nil {
			b.Fatal(err)
		}
		clients[i] = http2.NewClientConn(c, http2.ClientOptions{})
		b.Cleanup(func() { clients[i].Close(stream.Reason{}) })
	}
	body := make([]byte, 32)
	b.ReportAllocs()
	b.ResetTimer()
	begun := cpuTime(b)
	var wg sync.WaitGroup
	for i := range streams {
		wg.Go(func() {
			r := requestHTTP2("POST", "a", "/", "")
			r.AddString(stream.ContentType, "application/grpc")
			r.Length = -1
			for range (b.N + streams - 1) / streams {
				if err := benchCall(clients[i%conns], r, body); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(cpuTime(b)-begun)/float64(b.N), "cpu-ns/op")
}

// cpuTime is what the process has used of the processors.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
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
	l := socket.Listen(b)
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
