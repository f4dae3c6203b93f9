package router

import (
	"io"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// canned answers each request head with the same bytes, without allocating.
func canned(p *peer) {
	answer := []byte("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\ndate: x\r\n\r\nhello")
	buf := make([]byte, 4096)
	for {
		n, err := p.Read(buf)
		if err != nil {
			return
		}
		if n > 4 && string(buf[n-4:n]) == "\r\n\r\n" {
			if _, err := p.Write(answer); err != nil {
				return
			}
		}
	}
}

// forwarder makes exchanges on one stream, as a keep-alive client's codec does.
func forwarder(tb testing.TB, edit func(*config.Forward)) (run func(), w *world) {
	w = newWorld(tb, Options{}, serving(canned), addrA, addrB)
	s := &stream.Stream{}
	route := w.route(edit)
	return func() {
		setRequest(s, "GET", "/path", "")
		s.Route = route
		resp, err := w.filter.Handle(s, stream.Next{})
		if err != nil {
			tb.Fatal(err)
		}
		for {
			if _, err := resp.Body.Next(); err == io.EOF {
				break
			} else if err != nil {
				tb.Fatal(err)
			}
		}
		s.Recycle()
	}, w
}

func full(f *config.Forward) {
	f.Timeout = 15e9
	f.Retry = &config.Retry{On: config.OnConnectFailure | config.OnRetriableStatus, Retries: 2, Statuses: []uint32{503}, AvoidPrevious: true}
}

func BenchmarkForward(b *testing.B) {
	for name, edit := range map[string]func(*config.Forward){"plain": nil, "policy": full} {
		b.Run(name, func(b *testing.B) {
			run, w := forwarder(b, edit)
			defer w.close()
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}
