package streamtest_test

import (
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/stream/streamtest"
)

func TestMux(t *testing.T) {
	streamtest.Run(t, streamtest.Codec{
		Streams: 1 << 20,
		Connect: func(_ testing.TB, o ...stream.Observer) (stream.ClientConn, stream.ServerConn) {
			return streamtest.NewMux(o...)
		},
	})
}
