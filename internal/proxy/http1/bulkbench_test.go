package http1_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/cert"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
	"golang.org/x/sys/unix"
)

// BenchmarkBulk answers requests with 1 MiB over loopback sockets. "direct" is the
// client and the origin alone; what the others cost beyond it is the proxies':
// one hop in plain text, or two with TLS between them.
func BenchmarkBulk(b *testing.B) {
	b.Run("direct", func(b *testing.B) { benchBulk(b, 0) })
	b.Run("hop", func(b *testing.B) { benchBulk(b, 1) })
	b.Run("mesh", func(b *testing.B) { benchBulk(b, 2) })
}

func benchBulk(b *testing.B, proxies int) {
	const size = 1 << 20
	w, l := watch(b), socket.Listen(b)
	client, at := socket.Pair(b, l)
	opts := http1.ServerOptions{Watch: w, IdleTimeout: time.Hour, StreamIdleTimeout: 5 * time.Minute}
	var down rawio.Transport = at
	for i := range proxies {
		near, far := socket.Pair(b, l)
		var up, next rawio.Transport = near, far
		if proxies == 2 && i == 0 {
			sc, cc := cert.TLS(b)
			up, next = rawio.ClientTLS(near, cc), rawio.ServerTLS(far, sc)
		}
		cc := http1.NewClientConn(up, http1.ClientOptions{Watch: w})
		defer cc.Close(stream.Reason{})
		go http1.NewServerConn(down, &stream.Conn{}, opts).Serve(&relay{c: cc})
		down = next
	}
	body := make([]byte, size)
	go http1.NewServerConn(down, &stream.Conn{}, opts).Serve(stream.HandlerFunc(func(*stream.Stream) (*stream.Response, error) {
		return &stream.Response{Status: 200, Length: size, Body: stream.NewBody(body)}, nil
	}))
	req, buf := []byte("GET /big HTTP/1.1\r\nHost: files\r\n\r\n"), make([]byte, 256<<10)
	fetch := func() {
		if _, err := client.Write(req); err != nil {
			b.Fatal(err)
		}
		for got, head := 0, 0; head == 0 || got < head+size; {
			k, err := client.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			if got += k; head == 0 {
				head = bytes.Index(buf[:k], []byte("\r\n\r\n")) + 4
			}
		}
	}
	fetch() // the handshake
	b.SetBytes(size)
	b.ReportAllocs()
	start := processCPU(b)
	for b.Loop() {
		fetch()
	}
	b.ReportMetric((processCPU(b)-start).Seconds()/(float64(b.N)*size/(1<<30)), "cpu-s/GiB")
	client.Close()
}

// processCPU is user and system time: wall time says little about two ends that
// run at the same time.
func processCPU(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
