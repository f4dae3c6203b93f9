package proxy_test

import (
	"bufio"
	"io"
	"net"
	"net/netip"
	"testing"
)

// BenchmarkMeshHop is one request through both sidecars with mTLS, metrics and
// access logs, one at a time, over loopback sockets; client and application share
// the process and its cores.
func BenchmarkMeshHop(b *testing.B) {
	app := rawApplication(b)
	ca := newAuthority(b)
	server := newSidecar(b, "reviews", ca.identity(b, "reviews"), func(s *sidecar) {
		s.set("inbound|9080||", static("inbound|9080||", app))
		s.set("virtualInbound", inbound(true, ""))
	})
	client := newSidecar(b, "productpage", ca.identity(b, "productpage"), func(s *sidecar) {
		s.set(reviews, eds(reviews))
		s.set(reviews, assignment(reviews, "istio", server.addr("virtualInbound")))
		s.set("0.0.0.0_9080", outbound(""))
		s.set("9080", routeTable("default", reviews))
	})
	c, err := net.Dial("tcp", client.addr("0.0.0.0_9080").String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	req := []byte("GET /reviews/0 HTTP/1.1\r\nHost: reviews:9080\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(req); err != nil {
			b.Fatal(err)
		}
		for n, end := 0, false; !end; {
			k, err := c.Read(buf[n:])
			if err != nil {
				b.Fatal(err)
			}
			n += k
			end = n > 2 && string(buf[n-2:n]) == "ok"
		}
	}
}

// rawApplication answers without net/http, so that the benchmark measures the
// proxies.
func rawApplication(b *testing.B) netip.AddrPort {
	l := loopback(b)
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serveRaw(c)
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String())
}

func serveRaw(c net.Conn) {
	defer c.Close()
	r := bufio.NewReader(c)
	for {
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
			return
		}
	}
}
