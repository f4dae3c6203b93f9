package http2_test

import (
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/stream/streamtest"
	"github.com/lateen-mesh/lateen/internal/testkit/cert"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
	"github.com/lateen-mesh/lateen/internal/testkit/socket"
)

func options(o []stream.Observer) http2.ServerOptions {
	return http2.ServerOptions{
		Upgrades: []string{"websocket"}, Observers: o,
		IdleTimeout: time.Hour, StreamIdleTimeout: time.Minute, RequestTimeout: time.Minute,
	}
}

func TestContractInMemory(t *testing.T) {
	streamtest.Run(t, streamtest.Codec{Streams: 64, Connect: func(_ testing.TB, o ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
		a, b := pipe.New()
		return http2.NewClientConn(a, http2.ClientOptions{}), http2.NewServerConn(b, &stream.Conn{}, options(o))
	}})
}

func TestContractShortReads(t *testing.T) {
	streamtest.Run(t, streamtest.Codec{Streams: 64, Connect: func(_ testing.TB, o ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
		a, b := pipe.New()
		a.ShortReads(1000)
		b.ShortReads(1001)
		return http2.NewClientConn(a, http2.ClientOptions{}), http2.NewServerConn(b, &stream.Conn{}, options(o))
	}})
}

func TestContractOnSockets(t *testing.T) {
	l := socket.Listen(t)
	streamtest.Run(t, streamtest.Codec{Streams: 64, Connect: func(t testing.TB, o ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
		a, b := socket.Pair(t, l)
		return http2.NewClientConn(a, http2.ClientOptions{}), http2.NewServerConn(b, &stream.Conn{}, options(o))
	}})
}

func TestContractOverTLS(t *testing.T) {
	l := socket.Listen(t)
	server, client := cert.TLS(t)
	streamtest.Run(t, streamtest.Codec{Streams: 64, Connect: func(t testing.TB, o ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
		a, b := socket.Pair(t, l)
		ta, tb := socket.TLS(t, a, b, server, client)
		return http2.NewClientConn(ta, http2.ClientOptions{}), http2.NewServerConn(tb, &stream.Conn{TLS: &stream.TLS{}}, options(o))
	}})
}
