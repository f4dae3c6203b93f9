package rawio_test

import (
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// cpu is the process's user and system time. Wall time says little on a machine
// that is shared, and the costs of both ends are wanted.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// reportBulk reports CPU seconds per GiB, both ends together.
func reportBulk(b *testing.B, start time.Duration, bytes int64) {
	b.ReportMetric(float64(cpu(b)-start)/1e9/(float64(bytes)/(1<<30)), "cpu-s/GiB")
}

// drain reads t to its end as relays do: with buffers that it gives back.
func drain(t rawio.Transport) (n int64, err error) {
	for {
		b, k, err := rawio.ReadLazy(t, rawio.LargeBuffer)
		n += int64(k)
		b.Release()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}

// BenchmarkBulk sends 1 MiB at a time in writes of 64 KiB, as a codec passes a
// body on.
func BenchmarkBulk(b *testing.B) {
	b.Run("plain", func(b *testing.B) {
		client, server := pair(b)
		benchBulk(b, client, server)
	})
	b.Run("TLS", func(b *testing.B) {
		client, server := tlsPairOnSockets(b)
		benchBulk(b, client, server)
	})
}

func benchBulk(b *testing.B, client, server rawio.Transport) {
	done := make(chan error, 1)
	go func() { _, err := drain(server); done <- err }()
	p := make([]byte, 1<<20)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	start, sent := cpu(b), int64(0)
	for b.Loop() {
		for at := 0; at < len(p); at += rawio.LargeBuffer {
			if _, err := client.Write(p[at : at+rawio.LargeBuffer]); err != nil {
				b.Fatal(err)
			}
		}
		sent += int64(len(p))
	}
	client.CloseWrite()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	reportBulk(b, start, sent)
}

// BenchmarkTLSPingPong sends 1 KiB to and fro.
func BenchmarkTLSPingPong(b *testing.B) {
	client, server := tlsPairOnSockets(b)
	go func() {
		for {
			buf, n, err := rawio.ReadLazy(server, rawio.SmallBuffer)
			if err != nil {
				return
			}
			_, err = server.Write(buf.B[:n])
			buf.Release()
			if err != nil {
				return
			}
		}
	}()
	p := make([]byte, 1024)
	b.ReportAllocs()
	start := cpu(b)
	for b.Loop() {
		if _, err := client.Write(p); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(client, p); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpu(b)-start)/1e3/float64(b.N), "cpu-µs/op")
}

// BenchmarkSplice moves 1 MiB from one socket to another: sender, splice and
// receiver together.
func BenchmarkSplice(b *testing.B) {
	from, in := pair(b)
	out, to := pair(b)
	done := make(chan error, 1)
	go func() { _, err := drain(to); done <- err }()
	go func() {
		s := rawio.NewSplice(out, in)
		for {
			if _, _, err := s.Move(); err != nil {
				out.CloseWrite()
				return
			}
		}
	}()
	p := make([]byte, 1<<20)
	b.SetBytes(int64(len(p)))
	b.ReportAllocs()
	start, sent := cpu(b), int64(0)
	for b.Loop() {
		if _, err := from.Write(p); err != nil {
			b.Fatal(err)
		}
		sent += int64(len(p))
	}
	from.CloseWrite()
	if err := <-done; err != nil {
		b.Fatal(err)
	}
	reportBulk(b, start, sent)
}

// BenchmarkHandshake is a whole mTLS connection without bytes, both ends: with the
// key exchanges that crypto/tls prefers (hybrid, against quantum computers), and
// with the classical one alone.
func BenchmarkHandshake(b *testing.B) {
	for _, group := range []struct {
		name   string
		curves []tls.CurveID
	}{{"hybrid", nil}, {"X25519", []tls.CurveID{tls.X25519}}} {
		b.Run(group.name+"/full", func(b *testing.B) { benchHandshake(b, group.curves, false) })
		b.Run(group.name+"/resumed", func(b *testing.B) { benchHandshake(b, group.curves, true) })
	}
}

func benchHandshake(b *testing.B, curves []tls.CurveID, resume bool) {
	sc, cc := mutual(b)
	cc.CurvePreferences = curves
	if resume {
		cc.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	l := listen(b)
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, rawio.ErrClosed) {
				return
			}
			s := rawio.ServerTLS(c, sc)
			if err := s.Handshake(b.Context()); err == nil {
				_, _ = s.Write([]byte("x"))
				_, _ = s.Read(make([]byte, 1))
			}
			s.Close()
		}
	}()
	dial := func() bool {
		c := dialTo(b, l)
		t := rawio.ClientTLS(c, cc)
		if err := t.Handshake(b.Context()); err != nil {
			b.Fatal(err)
		}
		if _, err := t.Read(make([]byte, 1)); err != nil { // takes the ticket too
			b.Fatal(err)
		}
		did := t.ConnectionState().DidResume
		t.Close()
		return did
	}
	dial()
	b.ReportAllocs()
	start := cpu(b)
	for b.Loop() {
		if dial() != resume {
			b.Fatalf("resumed = %v", !resume)
		}
	}
	b.ReportMetric(float64(cpu(b)-start)/1e3/float64(b.N), "cpu-µs/op")
}
