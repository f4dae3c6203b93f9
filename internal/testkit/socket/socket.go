// Package socket gives tests real sockets of the proxy's own kind, on free ports of
// 127.0.0.1.
package socket

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// Listen listens on a free port until the test ends.
func Listen(t testing.TB) *rawio.Listener {
	t.Helper()
	fds, err := rawio.HostSockets{}.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := rawio.Listen(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// Pair connects to l. Its ends are the caller's.
func Pair(t testing.TB, l *rawio.Listener) (client, server *rawio.Conn) {
	t.Helper()
	client, err := rawio.Dial(t.Context(), rawio.HostSockets{}, netip.Addr{}, l.Addr(), rawio.DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// TLS makes the handshake over a pair.
func TLS(t testing.TB, a, b rawio.Transport, server, client *tls.Config) (atClient, atServer *rawio.TLSConn) {
	t.Helper()
	atClient, atServer = rawio.ClientTLS(a, client), rawio.ServerTLS(b, server)
	errs := make(chan error, 1)
	go func() { errs <- atServer.Handshake(context.Background()) }()
	if err := errors.Join(atClient.Handshake(t.Context()), <-errs); err != nil {
		t.Fatal(err)
	}
	return atClient, atServer
}
