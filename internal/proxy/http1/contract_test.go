package http1_test

import (
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/stream/streamtest"
	"github.com/lateen-mesh/lateen/internal/testkit/cert"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
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
	l := socket.Listen(t)
	streamtest.Run(t, streamtest.Codec{Streams: 1, Connect: func(t testing.TB, o ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
		a, b := socket.Pair(t, l)
		return http1.NewClientConn(a, http1.ClientOptions{Watch: w}), http1.NewServerConn(b, &stream.Conn{}, options(w, o))
	}})
}

func TestContractOverTLS(t *testing.T) {
	w := watch(t)
	l := socket.Listen(t)
	server, client := cert.TLS(t)
	streamtest.Run(t, streamtest.Codec{Streams: 1, Connect: func(t testing.TB, o ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
		a, b := socket.Pair(t, l)
		ta, tb := socket.TLS(t, a, b, server, client)
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
