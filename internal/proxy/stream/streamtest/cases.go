package streamtest

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

func testExchange(t *testing.T, c Codec) {
	l := connect(t, c, echo)
	for i, body := range []string{"", "hello", strings.Repeat("0123456789", 30000), ""} {
		for _, known := range []bool{true, false} {
			x := l.open()
			length := int64(len(body))
			if !known {
				length = -1
			}
			r := request("POST", length)
			half := len(body) / 2
			sent := make(chan error, 1)
			if body == "" && known {
				must(t, x.Send(r, nil, true))
				sent <- nil
			} else {
				go func() {
					err := x.Send(r, []byte(body[:half]), false)
					if err == nil {
						err = x.Write([]byte(body[half:]), true)
					}
					sent <- err
				}()
				// The request is sent by this goroutine alone until Send has returned.
				must(t, within(t, sendsDone(sent, len(body))))
			}
			resp, err := x.Receive()
			must(t, err)
			if resp.Status != 200 || string(resp.Get(stream.N("x-path"))) != "/path?query" || string(resp.Get(stream.N("x-authority"))) != "test.example" ||
				string(resp.Get(stream.N("x-method"))) != "POST" || string(resp.Get(stream.N("x-got"))) != "1" {
				t.Errorf("case %d: response %d %q", i, resp.Status, resp.AppendTo(nil))
			}
			var got []byte
			if resp.Body != nil {
				got, err = readAll(resp.Body)
				must(t, err)
			}
			if string(got) != body {
				t.Errorf("case %d: %d bytes back, want %d", i, len(got), len(body))
			}
			if len(body) > 65536 {
				must(t, within(t, sent))
			}
			if !x.Release() {
				t.Fatalf("case %d: not reusable", i)
			}
		}
	}
}

// sendsDone waits for a small upload; a large one goes on while the answer is read.
func sendsDone(sent chan error, size int) <-chan error {
	done := make(chan error, 1)
	if size > 65536 {
		// Give Send the time to begin: it belongs before Receive.
		time.AfterFunc(20*time.Millisecond, func() { done <- nil })
		return done
	}
	go func() { done <- <-sent }()
	return done
}

func testTrailers(t *testing.T, c Codec) {
	l := connect(t, c, echo)
	x := l.open()
	must(t, x.Send(request("POST", -1), nil, false))
	must(t, x.Write([]byte("body"), false))
	h := &stream.Head{}
	h.AddRaw([]byte("X-Sum"), []byte("42"))
	must(t, x.Trailers(h))
	resp, err := x.Receive()
	must(t, err)
	if resp.Body.Trailers() != nil {
		t.Error("trailers before the end of the body")
	}
	got, err := readAll(resp.Body)
	must(t, err)
	tr := resp.Body.Trailers()
	if string(got) != "body" || tr == nil || string(tr.Get(stream.N("x-sum"))) != "42" {
		t.Errorf("body %q, trailers %v", got, tr)
	}
	if !x.Release() {
		t.Error("not reusable")
	}
}

func testInterim(t *testing.T, c Codec) {
	l := connect(t, c, func(s *stream.Stream) (*stream.Response, error) {
		h := &stream.Head{}
		h.AddString(stream.N("link"), "</a>")
		for range 2 {
			if err := s.Inform(103, h); err != nil {
				return nil, err
			}
		}
		return answer(200, "x"), nil
	})
	x := l.open()
	must(t, x.Send(request("GET", 0), nil, true))
	for _, want := range []int{103, 103, 200} {
		resp, err := x.Receive()
		must(t, err)
		if resp.Status != want || want == 103 && string(resp.Get(stream.N("link"))) != "</a>" {
			t.Errorf("received %d, want %d", resp.Status, want)
		}
	}
}

// As many exchanges at once as the codec carries, many times over.
func testMany(t *testing.T, c Codec) {
	l := connect(t, c, echo)
	var wg sync.WaitGroup
	for i := range min(c.Streams, 64) {
		wg.Go(func() {
			for j := range 20 {
				if err := roundTrip(l.client, fmt.Sprintf("body %d %d", i, j)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if c.Streams > 1 {
		return
	}
	x := l.open()
	if _, err := l.client.Open(&stream.Stream{}); err == nil || l.client.Free() != 0 {
		t.Error("a second exchange was opened")
	}
	x.Release()
}

func roundTrip(c stream.ClientConn, body string) error {
	x, err := c.Open(&stream.Stream{})
	if err != nil {
		return err
	}
	if err := x.Send(request("PUT", int64(len(body))), []byte(body), true); err != nil {
		return err
	}
	resp, err := x.Receive()
	if err != nil {
		return err
	}
	got, err := readAll(resp.Body)
	if err != nil || string(got) != body {
		return fmt.Errorf("got %q, %w", got, err)
	}
	if !x.Release() {
		return fmt.Errorf("not reusable")
	}
	return nil
}

// A goroutine uploads while the stream's reads the answer.
func testBothWays(t *testing.T, c Codec) {
	l := connect(t, c, echo)
	const size = 4 << 20
	x := l.open()
	must(t, x.Send(request("POST", size), nil, false))
	sent := make(chan error, 1)
	go func() {
		chunk := bytes.Repeat([]byte("lateen!\n"), 4<<10)
		for n := len(chunk); n <= size; n += len(chunk) {
			if err := x.Write(chunk, n == size); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	resp, err := x.Receive()
	must(t, err)
	n := 0
	for {
		p, err := resp.Body.Next()
		if err == io.EOF {
			break
		}
		must(t, err)
		for i := range p {
			if p[i] != "lateen!\n"[(n+i)%8] {
				t.Fatalf("byte %d differs", n+i)
			}
		}
		n += len(p)
	}
	if n != size {
		t.Errorf("%d bytes back", n)
	}
	must(t, within(t, sent))
	if !x.Release() {
		t.Error("not reusable")
	}
}

// Write waits while the other side does not read.
func testBackPressure(t *testing.T, c Codec) {
	goOn := make(chan struct{})
	l := connect(t, c, func(s *stream.Stream) (*stream.Response, error) {
		<-goOn
		b, err := readAll(s.Request.Body)
		return answer(200, fmt.Sprint(len(b))), err
	})
	const size = 16 << 20 // more than the socket buffers of both ends take
	x := l.open()
	sent := make(chan error, 1)
	must(t, x.Send(request("POST", size), nil, false))
	go func() { sent <- x.Write(make([]byte, size), true) }()
	select {
	case err := <-sent:
		t.Errorf("Write of %d bytes returned while nobody read: %v", size, err)
	case <-time.After(50 * time.Millisecond):
	}
	close(goOn)
	must(t, within(t, sent))
	resp, err := x.Receive()
	must(t, err)
	if got, err := readAll(resp.Body); string(got) != fmt.Sprint(size) {
		t.Errorf("server read %q, %v", got, err)
	}
}

// The answer comes before the request's end; both may then give up the rest.
func testEarlyResponse(t *testing.T, c Codec) {
	l := connect(t, c, func(*stream.Stream) (*stream.Response, error) { return answer(413, "too much"), nil })
	x := l.open()
	must(t, x.Send(request("POST", 1<<20), []byte("some"), false))
	resp, err := x.Receive()
	must(t, err)
	got, err := readAll(resp.Body)
	if resp.Status != 413 || string(got) != "too much" || err != nil {
		t.Errorf("%d %q %v", resp.Status, got, err)
	}
	reusable := x.Release()
	if c.Streams == 1 && reusable {
		t.Error("reusable with half a request sent")
	}
	if out := l.seen.one(t); out.Status != 413 {
		t.Errorf("outcome %+v", out)
	}
}

func testDelivery(t *testing.T, c Codec) {
	l := connect(t, c, echo)
	x := l.open()
	if d := x.Delivery(); d != stream.Unsent {
		t.Errorf("before Send: %v", d)
	}
	must(t, x.Send(request("GET", 0), nil, true))
	if d := x.Delivery(); d != stream.Maybe {
		t.Errorf("after Send: %v", d)
	}
}

// Drain finishes what is under way; what comes later is provably not served.
func testDrainServer(t *testing.T, c Codec) {
	begun, goOn := make(chan struct{}), make(chan struct{})
	l := connect(t, c, func(*stream.Stream) (*stream.Response, error) {
		close(begun)
		<-goOn
		return answer(200, "done"), nil
	})
	x := l.open()
	must(t, x.Send(request("GET", 0), nil, true))
	within(t, begun)
	l.server.Drain()
	if c.Streams > 1 {
		late, err := l.client.Open(&stream.Stream{})
		if err == nil {
			if err := late.Send(request("GET", 0), nil, true); err == nil {
				_, _ = late.Receive() // what it says of delivery is what counts
			}
			if d := late.Delivery(); d == stream.Maybe {
				t.Errorf("a late exchange's delivery is %v", d)
			}
			late.Release()
		}
	}
	close(goOn)
	resp, err := x.Receive()
	must(t, err)
	if got, err := readAll(resp.Body); string(got) != "done" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if x.Release() {
		t.Error("reusable")
	}
	if r := l.wait(); r.Code != stream.Draining {
		t.Errorf("Serve = %v", r)
	}
}

func testDrainClient(t *testing.T, c Codec) {
	l := connect(t, c, echo)
	x := l.open()
	must(t, x.Send(request("POST", 2), []byte("ab"), true))
	l.client.Drain()
	resp, err := x.Receive()
	must(t, err)
	if got, err := readAll(resp.Body); string(got) != "ab" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if x.Release() || l.client.Reusable() || l.client.Free() != 0 {
		t.Error("reusable")
	}
	if _, err := l.client.Open(&stream.Stream{}); err == nil {
		t.Error("opened")
	}
}

func testOutcome(t *testing.T, c Codec) {
	l := connect(t, c, echo)
	if err := roundTrip(l.client, "0123456789"); err != nil {
		t.Fatal(err)
	}
	out := l.seen.one(t)
	if out.Status != 200 || out.BytesReceived != 10 || out.BytesSent != 10 || out.Duration <= 0 || out.Reason.Code != stream.None || out.Response == nil {
		t.Errorf("outcome %+v", out)
	}
}

// A tunnel carries bytes both ways and each direction ends by itself.
func testTunnel(t *testing.T, c Codec) {
	l := connect(t, c, func(s *stream.Stream) (*stream.Response, error) {
		if s.Request.Upgrade != "websocket" {
			return answer(400, ""), nil
		}
		near, far := io.Pipe()
		return &stream.Response{Status: 101, Tunnel: &loop{r: near, w: far}}, nil
	})
	x := l.open()
	r := request("GET", 0)
	r.Upgrade = "websocket"
	must(t, x.Send(r, nil, true))
	resp, err := x.Receive()
	must(t, err)
	if resp.Status != 101 || resp.Tunnel == nil {
		t.Fatalf("response %+v", resp)
	}
	for range 3 {
		if _, err := resp.Tunnel.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4)
		if _, err := io.ReadFull(resp.Tunnel, b); err != nil || string(b) != "ping" {
			t.Fatalf("tunnel gave %q, %v", b, err)
		}
	}
	if _, err := resp.Tunnel.Write([]byte("last")); err != nil {
		t.Fatal(err)
	}
	must(t, resp.Tunnel.CloseWrite())
	if got, err := io.ReadAll(resp.Tunnel); string(got) != "last" || err != nil {
		t.Errorf("after half-close: %q, %v", got, err)
	}
	must(t, resp.Tunnel.Close())
	x.Release()
	if out := l.seen.one(t); out.Status != 101 || out.Reason.Code != stream.None {
		t.Errorf("outcome %+v", out)
	}
}

// loop is an origin that sends back what it gets.
type loop struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func (l *loop) Read(p []byte) (int, error)  { return l.r.Read(p) }
func (l *loop) Write(p []byte) (int, error) { return l.w.Write(p) }
func (l *loop) CloseWrite() error           { return l.w.Close() }
func (l *loop) Close() error                { return l.r.Close() }
