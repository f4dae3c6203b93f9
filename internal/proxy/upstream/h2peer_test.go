package upstream

import (
	"context"
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// h2Peer is an HTTP/2 endpoint on one connection in memory that does what a test
// tells it.
type h2Peer struct {
	end *pipe.End
	fr  *xhttp2.Framer // writes: guarded by mu

	mu   sync.Mutex
	open []uint32 // streams that wait for their answer
	hold bool     // answer nothing by itself
	last uint32   // the highest stream seen
}

// ok200 is the header block of ":status: 200", from HPACK's static table.
var ok200 = []byte{0x88}

func (p *h2Peer) serve(first ...xhttp2.Setting) {
	defer p.end.Close()
	preface := make([]byte, len(xhttp2.ClientPreface))
	if _, err := io.ReadFull(p.end, preface); err != nil {
		return
	}
	p.write(func() error { return p.fr.WriteSettings(first...) })
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			return
		}
		switch f := f.(type) {
		case *xhttp2.SettingsFrame:
			if !f.IsAck() {
				p.write(p.fr.WriteSettingsAck)
			}
		case *xhttp2.PingFrame:
			if !f.IsAck() {
				data := f.Data
				p.write(func() error { return p.fr.WritePing(true, data) })
			}
		case *xhttp2.HeadersFrame:
			p.headers(f.StreamID)
		case *xhttp2.RSTStreamFrame:
			p.mu.Lock()
			p.open = slices.DeleteFunc(p.open, func(id uint32) bool { return id == f.StreamID })
			p.mu.Unlock()
		}
	}
}

func (p *h2Peer) headers(id uint32) {
	p.mu.Lock()
	hold := p.hold
	p.last = max(p.last, id)
	p.open = append(p.open, id)
	p.mu.Unlock()
	if !hold {
		p.answer(1)
	}
}

func (p *h2Peer) write(f func() error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = f() // the client may have gone
}

// answer answers the n oldest streams; it reports how many there were.
func (p *h2Peer) answer(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = min(n, len(p.open))
	for _, id := range p.open[:n] {
		_ = p.fr.WriteHeaders(xhttp2.HeadersFrameParam{StreamID: id, BlockFragment: ok200, EndStream: true, EndHeaders: true})
	}
	p.open = p.open[n:]
	return n
}

func (p *h2Peer) limit(n uint32) {
	p.write(func() error {
		return p.fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: n})
	})
}

func (p *h2Peer) goAway(last uint32) {
	p.write(func() error { return p.fr.WriteGoAway(last, xhttp2.ErrCodeNo, nil) })
}

func (p *h2Peer) streams() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.open)
}

// h2Net is a network in memory of HTTP/2 endpoints.
type h2Net struct {
	*memNet
	max uint32 // of MAX_CONCURRENT_STREAMS
	// hold lets new endpoints answer nothing by themselves.
	hold  bool
	peers []*h2Peer // guarded by memNet.mu
}

func newH2Net(t testing.TB, limit uint32, edit func(*Options)) *h2Net {
	n := &h2Net{max: limit}
	n.memNet = newNet(t, func(o *Options) {
		o.Dial = n.dial2
		if edit != nil {
			edit(o)
		}
	})
	return n
}

func (n *h2Net) dial2(ctx context.Context, d Dialing) (rawio.Transport, error) {
	if err := n.arrive(ctx, d); err != nil {
		return nil, err
	}
	client, server := pipe.New()
	client.SetAddrs(netip.MustParseAddrPort("10.9.9.9:1000"), d.Remote)
	n.mu.Lock()
	p := &h2Peer{end: server, fr: xhttp2.NewFramer(server, server), hold: n.hold}
	n.peers = append(n.peers, p)
	limit := n.max
	n.mu.Unlock()
	n.wg.Go(func() { p.serve(xhttp2.Setting{ID: xhttp2.SettingMaxConcurrentStreams, Val: limit}) })
	return client, nil
}

func (n *h2Net) peer(i int) *h2Peer {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.peers[i]
}

func h2Static(edit func(*config.Cluster), addrs ...netip.AddrPort) *config.Cluster {
	return static(func(c *config.Cluster) {
		c.Protocol = config.SpeakHTTP2
		if edit != nil {
			edit(c)
		}
	}, addrs...)
}

// begin sends a request on a new lease.
func begin(t testing.TB, h *Handle) (Lease, stream.Exchange) {
	t.Helper()
	s := request()
	l, err := h.Acquire(s, &Tried{})
	if err != nil {
		t.Fatal(err)
	}
	ex, err := l.Open(s)
	if err != nil {
		t.Fatal(err)
	}
	s.Request.Scheme = []byte("http")
	if err := ex.Send(&s.Request, nil, true); err != nil {
		t.Fatal(err)
	}
	return l, ex
}

// finish awaits the answer and gives the lease back.
func finish(t testing.TB, l Lease, ex stream.Exchange) {
	t.Helper()
	resp, err := ex.Receive()
	if err != nil || resp.Status != 200 {
		t.Fatalf("%+v, %v", resp, err)
	}
	l.Release(Outcome{Status: 200, Reusable: ex.Release()})
}

// clean checks that nothing is left over.
func clean(t testing.TB, h *Handle) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.usage != [2]usage{} || len(h.waiters) != 0 {
		t.Errorf("left over: %+v, %d waiters", h.usage, len(h.waiters))
	}
	for _, x := range h.hosts {
		if x.active.Load() != 0 || len(x.conns) != 0 || len(x.pools) != 0 {
			t.Errorf("left over at %v: %d connections, %d pools, %d active", x.addr, len(x.conns), len(x.pools), x.active.Load())
		}
	}
	st := h.Stats()
	if st.RqActive.Load() != 0 || st.RqPendingActive.Load() != 0 || st.CxActive.Load() != 0 {
		t.Errorf("gauges: %d %d %d", st.RqActive.Load(), st.RqPendingActive.Load(), st.CxActive.Load())
	}
}

// used is what the breakers of the default priority count.
func used(h *Handle) usage {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.usage[0]
}
