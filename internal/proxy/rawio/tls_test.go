package rawio_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/testkit/cert"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

func configs(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	server, client = cert.TLS(t)
	server.NextProtos, client.NextProtos = []string{"istio"}, []string{"istio"}
	return server, client
}

// mutual asks the client for a certificate too: the server's own serves for both.
func mutual(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	server, client = configs(t)
	server.ClientAuth = tls.RequireAnyClientCert
	// ServerTLS would clone it otherwise, and each clone has ticket keys of its own.
	server.DynamicRecordSizingDisabled = true
	client.Certificates = server.Certificates
	return server, client
}

func tlsPair(t testing.TB, a, b rawio.Transport) (client, server *rawio.TLSConn) {
	t.Helper()
	sc, cc := configs(t)
	client, server = rawio.ClientTLS(a, cc), rawio.ServerTLS(b, sc)
	errs := make(chan error)
	go func() { errs <- server.Handshake(t.Context()) }()
	if err := client.Handshake(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-errs; err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestTLS(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(testing.TB) (rawio.Transport, rawio.Transport)
	}{
		{"sockets", func(t testing.TB) (rawio.Transport, rawio.Transport) { a, b := pair(t); return a, b }},
		{"memory", func(testing.TB) (rawio.Transport, rawio.Transport) { a, b := pipe.New(); return a, b }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := tt.make(t)
			client, server := tlsPair(t, a, b)
			if p := client.ConnectionState().NegotiatedProtocol; p != "istio" {
				t.Errorf("negotiated %q", p)
			}
			if rawio.RawConn(a) != rawio.RawConn(client) {
				t.Error("RawConn does not find the socket")
			}
			payload := bytes.Repeat([]byte("payload "), 40<<10) // 320 KiB: many records
			var sent sync.WaitGroup
			defer sent.Wait() // the end is seen before CloseWrite returns
			sent.Go(func() {
				n, err := client.WriteBuffers([][]byte{[]byte("head "), payload[:10], payload[10:], []byte(" end")})
				if err != nil || n != int64(len(payload)+9) {
					t.Errorf("WriteBuffers = %d, %v", n, err)
				}
				if _, err := client.Write(payload); err != nil {
					t.Error(err)
				}
				if err := client.CloseWrite(); err != nil {
					t.Error(err)
				}
			})
			got, err := io.ReadAll(server)
			if want := "head " + string(payload) + " end" + string(payload); err != nil || string(got) != want {
				t.Errorf("got %d bytes, %v; want %d, or they differ", len(got), err, len(want))
			}
			if _, err := server.Write([]byte("after half-close")); err != nil {
				t.Error(err)
			}
			if err := server.Close(); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(client); string(got) != "after half-close" || err != nil {
				t.Errorf("read %q, %v", got, err)
			}
		})
	}
}

// Records of one write are handed over together, and small buffers share one.
func TestTLSGathersRecords(t *testing.T) {
	a, b := pipe.New()
	client, server := tlsPair(t, a, b)
	before, _ := a.Calls()
	go io.Copy(io.Discard, server)
	if _, err := client.WriteBuffers([][]byte{[]byte("a"), []byte("b"), []byte("c")}); err != nil {
		t.Fatal(err)
	}
	after, _ := a.Calls()
	if n := after - before; n != 1 {
		t.Errorf("three small buffers took %d writes", n)
	}
	if _, err := client.Write(make([]byte, 48<<10)); err != nil {
		t.Fatal(err)
	}
	last, _ := a.Calls()
	if n := last - after; n != 1 {
		t.Errorf("three records took %d writes", n)
	}
	client.Close()
}

// A read that ran into a deadline can be repeated.
func TestTLSReadDeadlineIsNotFatal(t *testing.T) {
	client, server := tlsPairOnSockets(t)
	server.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	if _, err := server.Read(make([]byte, 1)); !rawio.IsTimeout(err) {
		t.Fatalf("read = %v", err)
	}
	server.SetReadDeadline(time.Time{})
	client.Write([]byte("later"))
	b := make([]byte, 8)
	if n, err := server.Read(b); string(b[:n]) != "later" || err != nil {
		t.Errorf("read %q, %v", b[:n], err)
	}
}

func tlsPairOnSockets(t testing.TB) (client, server *rawio.TLSConn) {
	a, b := pair(t)
	return tlsPair(t, a, b)
}

// A peer that does not read must not hold up Close.
func TestTLSCloseDoesNotWait(t *testing.T) {
	client, _ := tlsPairOnSockets(t)
	client.SetDeadline(time.Now().Add(30 * time.Millisecond))
	if _, err := client.Write(make([]byte, 64<<20)); err == nil {
		t.Fatal("write was taken")
	}
	start := time.Now()
	client.Close()
	if d := time.Since(start); d > time.Second {
		t.Errorf("Close took %v", d)
	}
}

func TestTLSHandshakeContext(t *testing.T) {
	a, _ := pair(t)
	_, cc := configs(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := rawio.ClientTLS(a, cc).Handshake(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("handshake with a silent peer: %v", err)
	}
}

func BenchmarkPingPong(b *testing.B) {
	client, server := pair(b)
	go func() {
		p := make([]byte, 1024)
		for {
			n, err := server.Read(p)
			if err != nil {
				return
			}
			if _, err := server.Write(p[:n]); err != nil {
				return
			}
		}
	}()
	p := make([]byte, 1024)
	b.ReportAllocs()
	for b.Loop() {
		client.Write(p[:256])
		if _, err := client.Read(p); err != nil {
			b.Fatal(err)
		}
	}
}
