package http2_test

import (
	"bytes"
	"io"
	"log/slog"
	"runtime"
	"testing"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// seeds are conversations, without the preface.
func seeds(f *testing.F) {
	add := func(write func(*xhttp2.Framer)) {
		var b bytes.Buffer
		fr := xhttp2.NewFramer(&b, nil)
		fr.AllowIllegalWrites = true
		// A writer to memory has no errors.
		_ = fr.WriteSettings()
		write(fr)
		f.Add(b.Bytes())
	}
	add(func(fr *xhttp2.Framer) { _ = fr.WriteRawFrame(xhttp2.FrameHeaders, 5, 1, []byte(getBlock)) })
	add(func(fr *xhttp2.Framer) {
		_ = fr.WriteRawFrame(xhttp2.FrameHeaders, 4, 1, []byte("\x83\x86\x84\x01\x01a"))
		_ = fr.WriteData(1, false, []byte("hello"))
		_ = fr.WriteRawFrame(xhttp2.FrameHeaders, 5, 1, []byte("\x00\x01x\x01y"))
	})
	add(func(fr *xhttp2.Framer) {
		_ = fr.WriteRawFrame(xhttp2.FrameHeaders, 0, 1, []byte("\x83\x86"))
		_ = fr.WriteContinuation(1, true, []byte("\x84\x01\x01a"))
		_ = fr.WriteDataPadded(1, true, []byte("x"), make([]byte, 9))
		_ = fr.WriteRSTStream(1, 8)
		_ = fr.WriteGoAway(0, 0, nil)
	})
	add(func(fr *xhttp2.Framer) {
		_ = fr.WriteRawFrame(xhttp2.FrameHeaders, 4, 1, []byte("\x88"))
		_ = fr.WriteData(1, true, []byte("hello"))
		_ = fr.WriteRawFrame(xhttp2.FrameHeaders, 5, 3, []byte("\x8d"))
		_ = fr.WritePing(false, [8]byte{})
		_ = fr.WriteWindowUpdate(0, 10)
		_ = fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 3}, xhttp2.Setting{ID: xhttp2.SettingHeaderTableSize, Val: 0})
	})
}

// noPanics fails the test for what the codec's roots recover.
type noPanics struct{ t *testing.T }

func (w noPanics) Write(p []byte) (int, error) {
	w.t.Errorf("%s", p)
	return len(p), nil
}

func limits(t *testing.T) http2.Limits {
	return http2.Limits{Log: slog.New(slog.NewTextHandler(noPanics{t}, nil))}
}

func FuzzServer(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := pipe.New()
		c := http2.NewServerConn(b, &stream.Conn{}, http2.ServerOptions{Limits: limits(t), Upgrades: []string{"websocket"}})
		done := make(chan stream.Reason, 1)
		go func() {
			done <- c.Serve(stream.HandlerFunc(func(s *stream.Stream) (*stream.Response, error) {
				for n := range s.Request.All() {
					if len(n) == 0 || n[0] == ':' {
						t.Errorf("field %q", n)
					}
				}
				if s.Request.Upgrade == "" && string(s.Request.Method) != "CONNECT" && (len(s.Request.Path) == 0 || s.Request.Path[0] != '/' && s.Request.Path[0] != '*') {
					t.Errorf("path %q", s.Request.Path)
				}
				return show(s)
			}))
		}()
		defer watchdog()()
		feed(a, xhttp2.ClientPreface, in)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("Serve did not return")
		}
	})
}

func FuzzClient(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, in []byte) {
		a, b := pipe.New()
		c := http2.NewClientConn(a, http2.ClientOptions{Limits: limits(t)})
		ended := make(chan struct{}, 2)
		for range 2 {
			x, err := c.Open(&stream.Stream{})
			if err != nil {
				t.Fatal(err)
			}
			go func() {
				defer func() { ended <- struct{}{} }()
				r := benchRequest()
				r.Length = -1
				err := x.Send(r, []byte("some"), false)
				for err == nil {
					var resp *stream.Response
					if resp, err = x.Receive(); err != nil || resp.Status < 200 {
						continue
					}
					if resp.Body != nil {
						_, _ = readAll(resp.Body) // whatever it is, it ends
					}
					break
				}
				x.Release()
			}()
		}
		defer watchdog()()
		feed(b, "", in)
		for range 2 {
			select {
			case <-ended:
			case <-time.After(10 * time.Second):
				t.Fatal("an exchange did not end")
			}
		}
		c.Close(stream.Reason{})
	})
}

// watchdog shows where everybody waits, if a case takes longer than any should.
func watchdog() (stop func() bool) {
	return time.AfterFunc(4*time.Second, func() {
		b := make([]byte, 1<<20)
		panic(string(b[:runtime.Stack(b, true)]))
	}).Stop
}

// feed writes what the other side is to read, reads what it answers, and leaves.
func feed(e *pipe.End, preface string, in []byte) {
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{e})
	}()
	// The other side may have closed already.
	_, _ = e.Write([]byte(preface))
	_, _ = e.Write(in)
	_ = e.CloseWrite()
	select {
	case <-drained:
	case <-time.After(5 * time.Second):
	}
	_ = e.Close()
}
