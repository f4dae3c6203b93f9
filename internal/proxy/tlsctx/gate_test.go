package tlsctx

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/testkit/cert"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// TestGate: never more handshakes compute than there are places, and one whose peer
// is silent holds none.
func TestGate(t *testing.T) {
	serverCfg, clientCfg := cert.TLS(t)
	g := NewGate(2)
	var inside, most atomic.Int32
	clientCfg.VerifyConnection = func(tls.ConnectionState) error {
		n := inside.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		time.Sleep(2 * time.Millisecond)
		inside.Add(-1)
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var silent, wg sync.WaitGroup
	for range 5 { // these peers never answer
		a, _ := pipe.New()
		silent.Go(func() {
			if _, err := g.Client(ctx, a, clientCfg); err == nil {
				t.Error("a handshake with nobody")
			}
		})
	}
	for range 20 {
		a, b := pipe.New()
		wg.Go(func() {
			server := rawio.ServerTLS(b, serverCfg)
			defer server.Close()
			if err := server.Handshake(ctx); err != nil {
				t.Error(err)
				return
			}
			var p [5]byte
			if n, err := server.Read(p[:]); err != nil || string(p[:n]) != "hello" {
				t.Errorf("%q, %v", p[:n], err)
			}
		})
		wg.Go(func() {
			c, err := g.Client(ctx, a, clientCfg)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Error(err)
			}
			_, _ = c.Read(make([]byte, 1)) // until the server closes
			_ = c.Close()
		})
	}
	wg.Wait()
	if most.Load() != 2 {
		t.Errorf("%d handshakes computed at once, want 2", most.Load())
	}
	cancel()
	silent.Wait()
	if len(g.slots) != 0 {
		t.Errorf("%d places are still taken", len(g.slots))
	}
}

// TestGateGivesUp: who waits for a place can give up.
func TestGateGivesUp(t *testing.T) {
	g := NewGate(1)
	g.slots <- struct{}{}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
	defer cancel()
	a, _ := pipe.New()
	if _, err := g.Client(ctx, a, &tls.Config{InsecureSkipVerify: true}); err != context.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
}
