package proxy_test

import (
	"net"
	"testing"
)

// BenchmarkHopParallel is one HTTP/1.1 hop, inbound in plain text with the whole
// chain, by several clients at once over loopback sockets: run it with -cpu 1,2,8
// and -mutexprofile to see what the cores wait for.
func BenchmarkHopParallel(b *testing.B) {
	app := rawApplication(b)
	ca := newAuthority(b)
	server := newSidecar(b, "reviews", ca.identity(b, "reviews"), func(s *sidecar) {
		s.set("inbound|9080||", static("inbound|9080||", app))
		s.set("virtualInbound", inbound(false, ""))
	})
	addr := server.addr("virtualInbound").String()
	benchmarkClients(b, addr)
}

// BenchmarkMeshHopParallel is the hop through both sidecars with mTLS.
func BenchmarkMeshHopParallel(b *testing.B) {
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
	benchmarkClients(b, client.addr("0.0.0.0_9080").String())
}

// benchmarkClients sends requests over 16 connections a core, one at a time on each.
func benchmarkClients(b *testing.B, addr string) {
	req := []byte("GET /reviews/0 HTTP/1.1\r\nHost: reviews:9080\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	b.SetParallelism(16)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(p *testing.PB) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		buf := make([]byte, 4096)
		for p.Next() {
			if _, err := c.Write(req); err != nil {
				b.Error(err)
				return
			}
			for n, end := 0, false; !end; {
				k, err := c.Read(buf[n:])
				if err != nil {
					b.Error(err)
					return
				}
				n += k
				end = n > 2 && string(buf[n-2:n]) == "ok"
			}
		}
	})
}
