package rawio_test

import (
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// until waits for what the network brings.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func write(t *testing.T, to rawio.Transport, p string) {
	t.Helper()
	if _, err := to.Write([]byte(p)); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, from rawio.Transport, size int) string {
	t.Helper()
	b := make([]byte, size)
	n, err := from.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// Unread tells of bytes and of the end, and takes nothing.
func TestUnread(t *testing.T) {
	connPipe := func(testing.TB) (a, b rawio.Transport) { x, y := pipe.New(); return x, y }
	sockets := func(t testing.TB) (a, b rawio.Transport) { x, y := pair(t); return x, y }
	for name, pairOf := range map[string]func(testing.TB) (a, b rawio.Transport){"pipe": connPipe, "sockets": sockets} {
		t.Run(name, func(t *testing.T) {
			a, b := pairOf(t)
			if rawio.Unread(a) {
				t.Error("something is unread at first")
			}
			write(t, b, "x")
			until(t, "a byte is not seen", func() bool { return rawio.Unread(a) })
			if got := read(t, a, 16); got != "x" {
				t.Errorf("then %q is read", got)
			}
			if rawio.Unread(a) {
				t.Error("something is unread afterwards")
			}
			if err := b.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			until(t, "the end is not seen", func() bool { return rawio.Unread(a) })
		})
	}
}

// Over TLS, what lies anywhere on the way counts: decrypted, read ahead, in the socket.
func TestUnreadTLS(t *testing.T) {
	client, server := tlsPairOnSockets(t)
	write(t, server, "abc")
	if got := read(t, client, 16); got != "abc" {
		t.Fatalf("got %q", got)
	}
	if rawio.Unread(client) {
		t.Error("something is unread after all was read")
	}
	write(t, server, "abc")
	if got := read(t, client, 3); got != "abc" { // fills the buffer: there may be more
		t.Fatalf("got %q", got)
	}
	if rawio.Unread(client) {
		t.Error("something is unread after a full read")
	}
	write(t, server, "abcd")
	if got := read(t, client, 3); got != "abc" {
		t.Fatalf("got %q", got)
	}
	if !rawio.Unread(client) {
		t.Error("a decrypted byte is not seen")
	}
	write(t, server, "e")
	until(t, "a record is not seen", func() bool { return rawio.Unread(client) })
}

func BenchmarkUnread(b *testing.B) {
	x, _ := pair(b)
	b.ReportAllocs()
	for b.Loop() {
		if rawio.Unread(x) {
			b.Fatal("something is unread")
		}
	}
}
