package upstream

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// idleConn is a connection that takes every exchange, to measure the pool alone.
type idleConn struct{ free int }

func (idleConn) Open(*stream.Stream) (stream.Exchange, error) { return nil, nil }
func (c idleConn) Free() int                                  { return c.free }
func (idleConn) Reusable() bool                               { return true }
func (idleConn) Drain()                                       {}
func (idleConn) Close(stream.Reason)                          {}

// BenchmarkAcquireRelease is the pool's cost of a request on a connection that is
// there, in both protocols.
func BenchmarkAcquireRelease(b *testing.B) {
	for name, p := range map[string]config.UpstreamProtocol{"http1": config.SpeakHTTP11, "http2": config.SpeakHTTP2} {
		setup := func(b *testing.B) *Handle {
			n := newH2Net(b, 1000, nil)
			b.Cleanup(n.close)
			h := n.apply(b, static(func(c *config.Cluster) { c.Protocol = p }, addrA))
			l := acquire(b, h)
			l.conn.cc.Close(stream.Reason{})
			l.conn.cc = idleConn{1000}
			l.conn.spent = false
			l.Release(Outcome{Status: 200, Reusable: true})
			return h
		}
		b.Run(name, func(b *testing.B) {
			h, s, t := setup(b), request(), &Tried{}
			b.ReportAllocs()
			for b.Loop() {
				l, err := h.Acquire(s, t)
				if err != nil {
					b.Fatal(err)
				}
				l.Release(Outcome{Status: 200, Reusable: true})
				t.Reset()
			}
		})
		// With -cpu 1,2,8 and -mutexprofile: what requests to one cluster wait for.
		b.Run(name+"/parallel", func(b *testing.B) {
			h := setup(b)
			var held []Lease // a connection for everybody
			for p == config.SpeakHTTP11 && len(held) < 32 {
				l := acquire(b, h)
				l.conn.cc.Close(stream.Reason{})
				l.conn.cc, l.conn.spent = idleConn{1000}, false
				held = append(held, l)
			}
			for _, l := range held {
				l.Release(Outcome{Status: 200, Reusable: true})
			}
			b.ReportAllocs()
			b.SetParallelism(2)
			b.RunParallel(func(pb *testing.PB) {
				s, t := request(), &Tried{}
				for pb.Next() {
					l, err := h.Acquire(s, t)
					if err != nil {
						b.Error(err)
						return
					}
					l.Release(Outcome{Status: 200, Reusable: true})
					t.Reset()
				}
			})
		})
	}
}

// BenchmarkExchange is a whole exchange over HTTP/2 in memory.
func BenchmarkExchange(b *testing.B) {
	n := newH2Net(b, 1000, nil)
	defer n.close()
	h := n.apply(b, h2Static(nil, addrA))
	s, t := request(), &Tried{}
	s.Request.Scheme = []byte("http")
	b.ReportAllocs()
	for b.Loop() {
		l, err := h.Acquire(s, t)
		if err != nil {
			b.Fatal(err)
		}
		ex, _ := l.Open(s)
		if err := ex.Send(&s.Request, nil, true); err != nil {
			b.Fatal(err)
		}
		finish(b, l, ex)
		t.Reset()
	}
}
