package http2_test

import (
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// TestResetFlags holds the reasons of RST_STREAM to Envoy's flags and details.
func TestResetFlags(t *testing.T) {
	for _, tc := range []struct {
		name          string
		code          xhttp2.ErrCode
		flag, details string
	}{
		{"reset", xhttp2.ErrCodeInternal, "UR", "upstream_reset_before_response_started{remote_reset}"},
		{"refused", xhttp2.ErrCodeRefusedStream, "UR", "upstream_reset_before_response_started{remote_refused_stream_reset}"},
	} {
		t.Run("upstream "+tc.name, func(t *testing.T) {
			p, conn := server(t, http2.ClientOptions{})
			x := sent(t, conn)
			p.ok(p.fr.WriteRSTStream(1, tc.code))
			_, err := x.Receive()
			r, _ := err.(stream.Reason)
			if r.Code.Flag() != tc.flag || r.Details() != tc.details {
				t.Errorf("%v: %s %s", err, r.Code.Flag(), r.Details())
			}
		})
	}
	t.Run("client", func(t *testing.T) {
		got, begun := make(chan stream.Reason, 1), make(chan struct{})
		p := client(t, http2.ServerOptions{Observers: []stream.Observer{observe(func(_ *stream.Stream, o *stream.Outcome) { got <- o.Reason })}}, func(s *stream.Stream) (*stream.Response, error) {
			close(begun)
			return nil, s.Sleep(time.Minute)
		})
		p.get(1)
		<-begun
		p.ok(p.fr.WriteRSTStream(1, xhttp2.ErrCodeCancel))
		if r := <-got; r.Code.Flag() != "DR" || r.Details() != "http2.remote_reset" {
			t.Errorf("%s %s", r.Code.Flag(), r.Details())
		}
	})
}

type observe func(*stream.Stream, *stream.Outcome)

func (f observe) Done(s *stream.Stream, o *stream.Outcome) { f(s, o) }

// TestEndBehindHead has a server end an answer without content in a later frame: the
// stream is left to end by itself, and given up where its place is wanted.
func TestEndBehindHead(t *testing.T) {
	for _, drained := range []bool{false, true} {
		p, conn := server(t, http2.ClientOptions{MaxStreams: 2})
		x := sent(t, conn)
		if f, ok := p.read().(*xhttp2.MetaHeadersFrame); !ok || f.StreamID != 1 {
			t.Fatalf("got %v", f)
		}
		p.headers(1, false, ":status", "204")
		if got := outcome(x, false); got != "204" {
			t.Fatal(got)
		}
		if !x.Release() || conn.Free() != 2 {
			t.Fatalf("%d free", conn.Free())
		}
		if drained {
			conn.Drain() // does not wait for the end
			if got := p.verdict(); got != "connection NO_ERROR" {
				t.Error(got)
			}
			continue
		}
		p.ok(p.fr.WriteData(1, true, nil))
		p.ok(p.fr.WritePing(false, [8]byte{1}))
		if f, ok := p.read().(*xhttp2.PingFrame); !ok || !f.IsAck() {
			t.Fatalf("got %v instead of nothing", f)
		}
		// Two more, which do not end: the third exchange needs the place of one.
		for id := uint32(3); id <= 5; id += 2 {
			x := sent(t, conn)
			p.read()
			p.headers(id, false, ":status", "304")
			if got := outcome(x, false); got != "304" {
				t.Fatal(got)
			}
			x.Release()
		}
		x = sent(t, conn)
		if got := p.verdict(); got != "stream 3 CANCEL" && got != "stream 5 CANCEL" {
			t.Error(got)
		}
		x.Release()
	}
}

// TestLocalAnswerToGRPC has the codec itself answer a gRPC request, whose head is too
// large, and a time-out cut a gRPC answer under way.
func TestLocalAnswerToGRPC(t *testing.T) {
	p := client(t, http2.ServerOptions{}, func(*stream.Stream) (*stream.Response, error) {
		return nil, stream.NewReply(0, stream.Reason{Code: stream.NoHealthyUpstream})
	})
	p.post(1, "content-type", "application/grpc")
	f, ok := p.read().(*xhttp2.MetaHeadersFrame)
	if !ok || !f.StreamEnded() || f.PseudoValue("status") != "200" {
		t.Fatalf("got %v", f)
	}
	fields := map[string]string{}
	for _, h := range f.RegularFields() {
		fields[h.Name] = h.Value
	}
	if fields["grpc-status"] != "14" || fields["grpc-message"] != "no healthy upstream" || fields["content-type"] != "application/grpc" {
		t.Errorf("got %v", fields)
	}
	for _, tc := range []struct {
		contentType string
		code        stream.Code
		want        string
	}{
		{"application/grpc+proto", stream.MaxDuration, "stream 1 CANCEL"},
		{"application/grpc", stream.UpstreamReset, "stream 1 INTERNAL_ERROR"},
		{"text/plain", stream.RouteTimeout, "stream 1 INTERNAL_ERROR"},
	} {
		p := client(t, http2.ServerOptions{}, func(s *stream.Stream) (*stream.Response, error) {
			return &stream.Response{Status: 200, Length: -1, Body: cutBody{stream.Reason{Code: tc.code}}}, nil
		})
		p.post(1, "content-type", tc.contentType)
		if got := p.verdict(); got != tc.want {
			t.Errorf("%s, %v: %s, want %s", tc.contentType, tc.code, got, tc.want)
		}
	}
}

// cutBody is a body that is cut before its first byte.
type cutBody struct{ r stream.Reason }

func (b cutBody) Next() ([]byte, error)  { return nil, b.r }
func (b cutBody) Buffered() (int, bool)  { return 0, false }
func (b cutBody) Trailers() *stream.Head { return nil }
func (b cutBody) Close(stream.Reason)    {}
