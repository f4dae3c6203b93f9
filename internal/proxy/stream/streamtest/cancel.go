package streamtest

import (
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Cancel, from another goroutine, ends whatever call waits, with its reason; the
// server's stream sees that its client left, once.
func testCancel(t *testing.T, c Codec) {
	want := stream.Reason{Code: stream.RouteTimeout, Detail: "test"}
	for _, where := range []string{"Receive", "Next", "Write"} {
		t.Run(where, func(t *testing.T) {
			begun := make(chan struct{})
			l := connect(t, c, func(s *stream.Stream) (*stream.Response, error) {
				close(begun)
				if where == "Next" {
					return &stream.Response{Status: 200, Length: -1, Body: &waiting{s: s}}, nil
				}
				<-s.Done()
				r, _ := s.ResetReason()
				return nil, r
			})
			x := l.open()
			must(t, x.Send(request("POST", -1), []byte("x"), false))
			within(t, begun)
			cancel := func() {
				time.Sleep(10 * time.Millisecond)
				x.Cancel(want)
				x.Cancel(stream.Reason{Code: stream.Draining}) // the first wins
				if c.Streams == 1 {
					l.client.Close(want) // as the owner of a connection that is spent does
				}
			}
			var err error
			switch where {
			case "Receive":
				go cancel()
				_, err = x.Receive()
			case "Next":
				resp, rerr := x.Receive()
				must(t, rerr)
				go cancel()
				_, err = readAll(resp.Body)
			case "Write":
				go cancel()
				err = x.Write(make([]byte, 32<<20), false)
			}
			if err != want {
				t.Errorf("err = %v", err)
			}
			if x.Release() != (c.Streams > 1) {
				t.Error("a cancelled exchange leaves its connection wrongly")
			}
			if out := l.seen.one(t); !clientLeft(out.Reason.Code) {
				t.Errorf("server saw %+v", out)
			}
		})
	}
}

// waiting is a body that never comes.
type waiting struct{ s *stream.Stream }

func (w *waiting) Next() ([]byte, error) {
	<-w.s.Done()
	r, _ := w.s.ResetReason()
	return nil, r
}
func (w *waiting) Buffered() (int, bool)  { return 0, false }
func (w *waiting) Trailers() *stream.Head { return nil }
func (w *waiting) Close(stream.Reason)    {}

func testServerReset(t *testing.T, c Codec) {
	l := connect(t, c, func(*stream.Stream) (*stream.Response, error) {
		return nil, stream.Reason{Code: stream.NoHealthyUpstream}
	})
	x := l.open()
	must(t, x.Send(request("GET", 0), nil, true))
	if _, err := x.Receive(); !serverCut(reasonOf(err)) {
		t.Errorf("Receive = %v", err)
	}
	if d := x.Delivery(); d != stream.Maybe {
		t.Errorf("delivery %v", d)
	}
	if out := l.seen.one(t); out.Reason.Code != stream.NoHealthyUpstream || out.Status != 0 {
		t.Errorf("outcome %+v", out)
	}
}

// A stream that is reset by us, not by its client, can still be answered.
func testResetAnswers(t *testing.T, c Codec) {
	l := connect(t, c, func(s *stream.Stream) (*stream.Response, error) {
		go s.Reset(stream.Reason{Code: stream.RouteTimeout})
		<-s.Done()
		r, _ := s.ResetReason()
		return nil, stream.NewReply(0, r)
	})
	x := l.open()
	must(t, x.Send(request("GET", 0), nil, true))
	resp, err := x.Receive()
	must(t, err)
	got, err := readAll(resp.Body)
	if resp.Status != 504 || string(got) != "upstream request timeout" || err != nil {
		t.Errorf("%d %q %v", resp.Status, got, err)
	}
	if out := l.seen.one(t); out.Reason.Code != stream.RouteTimeout || out.Status != 504 {
		t.Errorf("outcome %+v", out)
	}
}

// A response that is cut short is seen to be.
func testCutResponse(t *testing.T, c Codec) {
	for _, length := range []int64{-1, 100} {
		l := connect(t, c, func(s *stream.Stream) (*stream.Response, error) {
			return &stream.Response{Status: 200, Length: length, Body: &cutBody{}}, nil
		})
		x := l.open()
		must(t, x.Send(request("GET", 0), nil, true))
		resp, err := x.Receive()
		must(t, err)
		got, err := readAll(resp.Body)
		if !serverCut(reasonOf(err)) || string(got) != "part" && string(got) != "" {
			t.Errorf("length %d: %q, %v", length, got, err)
		}
		if out := l.seen.one(t); out.Reason.Code != stream.UpstreamProtocol {
			t.Errorf("outcome %+v", out)
		}
	}
}

type cutBody struct{ done bool }

func (b *cutBody) Next() ([]byte, error) {
	if b.done {
		return nil, stream.Reason{Code: stream.UpstreamProtocol}
	}
	b.done = true
	return []byte("part"), nil
}
func (b *cutBody) Buffered() (int, bool)  { return 0, false }
func (b *cutBody) Trailers() *stream.Head { return nil }
func (b *cutBody) Close(stream.Reason)    {}

func testClientCloses(t *testing.T, c Codec) {
	begun := make(chan struct{})
	l := connect(t, c, func(s *stream.Stream) (*stream.Response, error) {
		close(begun)
		<-s.Done()
		r, _ := s.ResetReason()
		return nil, r
	})
	x := l.open()
	must(t, x.Send(request("GET", 0), nil, true))
	within(t, begun)
	l.client.Close(stream.Reason{Code: stream.Draining})
	if _, err := x.Receive(); reasonOf(err) != stream.Draining {
		t.Errorf("Receive = %v", err)
	}
	if out := l.seen.one(t); !clientLeft(out.Reason.Code) {
		t.Errorf("outcome %+v", out)
	}
	l.wait()
}
