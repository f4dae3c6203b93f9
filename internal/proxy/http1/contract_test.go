package http1_test

import (
	"context"
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/stream/streamtest"
	"github.com/lateen-mesh/lateen/internal/testkit/cert"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

func options(w *rawio.Watch, o []stream.Observer) http1.ServerOptions {
	return http1.ServerOptions{
		Upgrades: []string{"websocket"}, Observers: o, Watch: w,
		IdleTimeout: time.Hour, StreamIdleTimeout: time.Minute, RequestTimeout: time.Minute,
	}
}

func TestContractInMemory(t *testing.T) {
	streamtest.Run(t, streamtest.Codec{Streams: 1, Connect: func(_ testing.TB, o ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
		a, b := pipe.New()
		return http1.NewClientConn(a, http1.ClientOptions{}), http1.NewServerConn(b, &stream.Conn{}, options(nil, o))
	}})
}

func TestContractShortReads(t *testing.T) {
	streamtest.Run(t, streamtest.Codec{Streams: 1, Connect: func(_ testing.TB, o ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
		a, b := pipe.New()
		a.ShortReads(1000)
		b.ShortReads(1001)
		return http1.NewClientConn(a, http1.ClientOptions{}), http1.NewServerConn(b, &stream.Conn{}, options(nil, o))
	}})
}

func TestContractOnSockets(t *testing.T) {
	w := watch(t)
	dial := sockets(t)
	streamtest.Run(t, streamtest.Codec{Streams: 1, Connect: func(t testing.TB, o ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
		a, b := dial(t)
		return http1.NewClientConn(a, http1.ClientOptions{Watch: w}), http1.NewServerConn(b, &stream.Conn{}, options(w, o))
	}})
}

func TestContractOverTLS(t *testing.T) {
	w := watch(t)
	dial := sockets(t)
	server, client := cert.TLS(t)
	streamtest.Run(t, streamtest.Codec{Streams: 1, Connect: func(t testing.TB, o ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
		a, b := dial(t)
		ta, tb := rawio.ClientTLS(a, client), rawio.ServerTLS(b, server)
		errs := make(chan error)
		go func() { errs <- tb.Handshake(context.Background()) }()
		if err := errors.Join(ta.Handshake(t.Context()), <-errs); err != nil {
			t.Fatal(err)
		}
		return http1.NewClientConn(ta, http1.ClientOptions{Watch: w}), http1.NewServerConn(tb, &stream.Conn{TLS: &stream.TLS{}}, options(w, o))
	}})
}

func watch(t testing.TB) *rawio.Watch {
	t.Helper()
	w, err := rawio.NewWatch()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

// sockets makes a listener and returns what connects to it.
func sockets(t testing.TB) func(testing.TB) (client, server *rawio.Conn) {
	t.Helper()
	l := listener(t)
	return func(t testing.TB) (client, server *rawio.Conn) {
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
}

func listener(t testing.TB) *rawio.Listener {
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
