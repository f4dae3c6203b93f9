package rawio_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// held is a Transport that keeps what is written, but for the first writes, until
// it is let go. It sends no FIN. One goroutine uses it.
type held struct {
	rawio.Transport
	free int // writes that go through
	kept []byte
}

func (h *held) Write(p []byte) (int, error) {
	if h.free > 0 {
		h.free--
		return h.Transport.Write(p)
	}
	h.kept = append(h.kept, p...)
	return len(p), nil
}

func (h *held) CloseWrite() error { return nil }

// send lets n bytes go in one write; -1: all.
func (h *held) send(t *testing.T, n int) {
	t.Helper()
	if n < 0 {
		n = len(h.kept)
	}
	if _, err := h.Transport.Write(h.kept[:n]); err != nil {
		t.Fatal(err)
	}
	h.kept = h.kept[n:]
}

// heldPair shakes hands over a socket whose client holds back what it writes then.
func heldPair(t *testing.T) (h *held, client, server *rawio.TLSConn) {
	t.Helper()
	a, b := pair(t)
	h = &held{Transport: a, free: 1 << 30}
	client, server = tlsPair(t, h, b)
	h.free = 0
	return h, client, server
}

func readLazy(t *testing.T, c *rawio.TLSConn) (string, error) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	b, n, err := c.ReadLazy(rawio.LargeBuffer)
	if err != nil {
		return "", err
	}
	defer b.Release()
	return string(b.B[:n]), nil
}

// Application data that comes with the client's Finished makes no further event on
// the socket: it must be delivered all the same.
func TestTLSDataWithFinished(t *testing.T) {
	a, b := pair(t)
	sc, cc := mutual(t)
	h := &held{Transport: a, free: 1} // the hello
	client, server := rawio.ClientTLS(h, cc), rawio.ServerTLS(b, sc)
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake(t.Context()) }()
	if err := client.Handshake(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write([]byte("early")); err != nil {
		t.Fatal(err)
	}
	h.send(t, -1)
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	if got, err := readLazy(t, server); got != "early" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestTLSReadsRecordsTogether(t *testing.T) {
	h, client, server := heldPair(t)
	for _, s := range []string{"one ", "two ", "three"} {
		if _, err := client.Write([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	h.send(t, -1)
	if got, err := readLazy(t, server); got != "one two three" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
}

// What came before half a record is delivered, a deadline in between does no harm,
// and the rest completes the record.
func TestTLSHalfARecord(t *testing.T) {
	h, client, server := heldPair(t)
	client.Write([]byte("whole"))
	whole := len(h.kept)
	client.Write([]byte("halved"))
	for _, cut := range []int{3, 5, 9} { // in the header, behind it, in the body
		h.send(t, whole+cut)
		if got, err := readLazy(t, server); got != "whole" || err != nil {
			t.Fatalf("cut at %d: read %q, %v", cut, got, err)
		}
		server.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
		if _, _, err := server.ReadLazy(rawio.SmallBuffer); !rawio.IsTimeout(err) {
			t.Errorf("cut at %d: read of half a record: %v", cut, err)
		}
		h.send(t, -1)
		if got, err := readLazy(t, server); got != "halved" || err != nil {
			t.Errorf("cut at %d: read %q, %v", cut, got, err)
		}
		client.Write([]byte("whole"))
		client.Write([]byte("halved"))
	}
}

// A close_notify is the end though no FIN follows, also right behind data.
func TestTLSCloseNotifyWithoutFIN(t *testing.T) {
	h, client, server := heldPair(t)
	client.Write([]byte("last"))
	client.CloseWrite()
	h.send(t, -1)
	if got, err := readLazy(t, server); got != "last" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	start := time.Now()
	for range 2 {
		if _, err := readLazy(t, server); err != io.EOF {
			t.Errorf("then %v, want the end", err)
		}
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("the end was told after %v only", d)
	}
}

func TestTLSTruncation(t *testing.T) {
	h, client, server := heldPair(t)
	client.Write([]byte("cut in the middle"))
	h.send(t, 10)
	h.Transport.CloseWrite()
	if _, err := readLazy(t, server); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut record ends with %v", err)
	}
}

func TestTLSForgedRecord(t *testing.T) {
	h, client, server := heldPair(t)
	client.Write([]byte("good"))
	client.Write([]byte("forged"))
	h.kept[len(h.kept)-1] ^= 1
	h.send(t, -1)
	if got, err := readLazy(t, server); got != "good" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	if _, err := readLazy(t, server); err == nil || err == io.EOF || rawio.IsTimeout(err) {
		t.Errorf("a forged record gives %v", err)
	}
}

// Whatever the sizes of writes, reads and the pieces that the network makes: the
// bytes are the same.
func TestTLSAnySizes(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		a, b := pipe.New()
		b.ShortReads(1 + r.IntN(40<<10))
		client, server := tlsPair(t, a, b)
		want := make([]byte, 300<<10+r.IntN(700<<10))
		for i := range want {
			want[i] = byte(r.Uint32())
		}
		go writeAny(t, client, want, rand.New(rand.NewPCG(seed, 1)))
		got, err := readAny(server, r)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("seed %d: %d of %d bytes, %v, or they differ", seed, len(got), len(want), err)
		}
	}
}

func writeAny(t *testing.T, c *rawio.TLSConn, p []byte, r *rand.Rand) {
	for len(p) > 0 {
		var bufs [][]byte
		var size int64
		for range 1 + r.IntN(4) {
			n := min(len(p), r.IntN(1<<r.IntN(19)))
			bufs, p, size = append(bufs, p[:n]), p[n:], size+int64(n)
		}
		if n, err := c.WriteBuffers(bufs); n != size || err != nil {
			t.Errorf("wrote %d of %d, %v", n, size, err)
		}
	}
	c.CloseWrite()
}

func readAny(c *rawio.TLSConn, r *rand.Rand) (all []byte, err error) {
	for {
		if r.IntN(2) == 0 {
			var b *rawio.Buffer
			var n int
			if b, n, err = c.ReadLazy(1 << r.IntN(19)); err == nil {
				all = append(all, b.B[:n]...)
				b.Release()
			}
		} else {
			p := make([]byte, 1+r.IntN(20<<10))
			var n int
			n, err = c.Read(p)
			all = append(all, p[:n]...)
		}
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}
