package router

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// feed is a request body that arrives in pieces, as the test sends them.
type feed struct {
	ch     chan []byte
	closed chan struct{}
	once   sync.Once
}

func newFeed() *feed { return &feed{ch: make(chan []byte), closed: make(chan struct{})} }

func (f *feed) Next() ([]byte, error) {
	select {
	case p, ok := <-f.ch:
		if !ok {
			return nil, io.EOF
		}
		return p, nil
	case <-f.closed:
		return nil, stream.Reason{Code: stream.DownstreamGone}
	}
}

func (f *feed) Buffered() (int, bool)  { return 0, false }
func (f *feed) Trailers() *stream.Head { return nil }
func (f *feed) Close(stream.Reason)    { f.once.Do(func() { close(f.closed) }) }

// send sends pieces with pauses and ends the body.
func (f *feed) send(pause time.Duration, pieces ...string) {
	defer close(f.ch)
	for _, p := range pieces {
		select {
		case <-time.After(pause):
		case <-f.closed:
			return
		}
		select {
		case f.ch <- []byte(p):
		case <-f.closed:
			return
		}
	}
}

func uploading(method string, f *feed) *stream.Stream {
	s := newStream(method, "/up", "")
	s.Request.Body, s.Request.Length = f, -1
	return s
}

func echo(p *peer) {
	for {
		_, body, err := p.request()
		if err != nil {
			return
		}
		p.answer(200, body)
	}
}

func TestUpload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(echo))
		defer w.close()
		for range 2 {
			f := newFeed()
			go f.send(time.Second, "one ", "two ", "three")
			o := w.do(uploading("POST", f), w.route(func(f *config.Forward) { f.Timeout = time.Second }))
			if o.status != 200 || o.body != "one two three" || o.up.BytesSent != 13 {
				t.Fatalf("got %+v", o)
			}
		}
		if w.dials != 1 {
			t.Errorf("%d connections: one was not reusable after an upload", w.dials)
		}
	})
}

// TestUploadRetry: what was read so far is sent again, and the rest follows, in
// order, exactly once.
func TestUploadRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, func(_ netip.AddrPort, n int) (endpoint, error) {
			if n <= 2 {
				return func(p *peer) {
					var buf [64]byte
					p.Read(buf[:]) // part of the head
					time.Sleep(2500 * time.Millisecond)
					p.Reset()
				}, nil
			}
			return echo, nil
		})
		defer w.close()
		f := newFeed()
		go f.send(time.Second, "a", "b", "c", "d", "e", "f", "g", "h")
		o := w.do(uploading("PUT", f), w.route(func(f *config.Forward) {
			f.Retry = &config.Retry{On: config.OnReset, Retries: 2}
		}))
		if o.status != 200 || o.body != "abcdefgh" || o.up.Attempts != 3 {
			t.Fatalf("got %+v", o)
		}
	})
}

// TestUploadTooLargeToRetry: a body that outgrew the buffer is not sent twice.
func TestUploadTooLargeToRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{Replay: 8}, func(_ netip.AddrPort, n int) (endpoint, error) {
			return func(p *peer) {
				time.Sleep(3500 * time.Millisecond)
				p.Reset()
			}, nil
		})
		defer w.close()
		f := newFeed()
		go f.send(time.Second, "12345", "67890", "x", "y")
		o := w.do(uploading("PUT", f), w.route(func(f *config.Forward) {
			f.Retry = &config.Retry{On: config.OnReset, Retries: 3}
		}))
		if o.status != 503 || o.code != stream.UpstreamReset || o.up.Attempts != 1 {
			t.Fatalf("got %+v", o)
		}
	})
}

// TestEarlyAnswer: an answer that comes before the upload's end is passed on, and
// ends the upload.
func TestEarlyAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(func(p *peer) {
			var buf [256]byte
			p.Read(buf[:])
			p.answer(413, "too large")
			io.Copy(io.Discard, p)
		}))
		defer w.close()
		f := newFeed()
		go f.send(time.Second, strings.Split(strings.Repeat("x", 60), "")...)
		start := time.Now()
		o := w.do(uploading("POST", f), w.route(nil))
		if o.status != 413 || o.body != "too large" {
			t.Errorf("got %+v", o)
		}
		if d := time.Since(start); d > time.Second {
			t.Errorf("the answer took %v", d)
		}
		if w.m.Handle("c").Stats().CxActive.Load() != 0 {
			t.Error("a connection with half a request was kept")
		}
	})
}

// TestClientGone: a client that leaves in mid-upload cancels the exchange.
func TestClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(silent))
		defer w.close()
		f := newFeed()
		time.AfterFunc(time.Second, func() { f.Close(stream.Reason{}) })
		o := w.do(uploading("POST", f), w.route(nil))
		if o.code != stream.DownstreamGone || o.status != 0 {
			t.Errorf("got %+v", o)
		}
	})
}

func TestInformational(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(func(p *peer) {
			p.request()
			p.Write([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n"))
			p.answer(200, "ok")
		}))
		defer w.close()
		s := newStream("POST", "/", "x")
		s.Request.ExpectContinue = true
		s.Request.AddString(stream.Expect, "100-continue")
		got := &informed{}
		s.Codec = got
		if o := w.do(s, w.route(nil)); o.status != 200 || o.body != "ok" {
			t.Errorf("got %+v", o)
		}
		if len(got.status) != 1 || got.status[0] != 103 {
			t.Errorf("informed of %v", got.status)
		}
		if w.last().Header.Get("expect") != "" {
			t.Error("Expect was passed on though the client got its 100")
		}
	})
}

type informed struct{ status []int }

func (i *informed) Inform(status int, _ *stream.Head) error {
	i.status = append(i.status, status)
	return nil
}
func (i *informed) Abort(stream.Reason) {}

func TestTunnel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(func(p *peer) {
			p.request()
			p.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"))
			io.Copy(p, p.r)
			p.Write([]byte("bye"))
		}))
		defer w.close()
		s := newStream("GET", "/", "")
		s.Request.Upgrade = "websocket"
		s.Route = w.route(func(f *config.Forward) { f.Timeout = time.Second })
		resp, err := w.filter.Handle(s, stream.Next{})
		if err != nil || resp.Status != 101 || resp.Tunnel == nil {
			t.Fatalf("got %+v, %v", resp, err)
		}
		time.Sleep(time.Minute) // the route's time-out does not count
		resp.Tunnel.Write([]byte("ping "))
		resp.Tunnel.CloseWrite()
		var buf bytes.Buffer
		io.Copy(&buf, readerOf{resp.Tunnel})
		if buf.String() != "ping bye" {
			t.Errorf("got %q", buf.String())
		}
		resp.Tunnel.Close()
		s.Recycle()
		if n := w.m.Handle("c").Stats().CxActive.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

type readerOf struct{ d stream.Duplex }

func (r readerOf) Read(p []byte) (int, error) { return r.d.Read(p) }

func TestMirror(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var hosts []string
		w := newWorld(t, Options{}, serving(func(p *peer) {
			for {
				req, body, err := p.request()
				if err != nil {
					return
				}
				mu.Lock()
				hosts = append(hosts, req.Host+" "+body)
				mu.Unlock()
				if strings.Contains(req.Host, "shadow") {
					p.answer(500, "nobody reads this")
				} else {
					p.answer(200, "ok")
				}
			}
		}))
		defer w.close()
		route := w.route(func(f *config.Forward) {
			f.Mirrors = []config.Mirror{{Cluster: f.Clusters[0].Cluster, Millionths: 1_000_000}}
		})
		if o := w.do(newStream("POST", "/", "body"), route); o.status != 200 {
			t.Errorf("got %+v", o)
		}
		f := newFeed()
		go f.send(time.Second, "up", "load")
		if o := w.do(uploading("POST", f), route); o.status != 200 {
			t.Errorf("got %+v", o)
		}
		synctest.Wait()
		count := map[string]int{}
		for _, h := range hosts {
			count[h]++
		}
		for _, want := range []string{"example.com body", "example.com-shadow body", "example.com upload", "example.com-shadow upload"} {
			if count[want] != 1 {
				t.Errorf("%q was seen %d times; all: %q", want, count[want], hosts)
			}
		}
	})
}
