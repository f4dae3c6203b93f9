package http2_test

import (
	"testing"
	"testing/synctest"
	"time"

	xhttp2 "golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/internal/proxy/http2"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Time-outs of a server, in virtual time. Each case begins behind the handshake.
func TestServerTimeouts(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    http2.ServerOptions
		do   func(*peer) string // what the client sees
		want string
		at   time.Duration
		end  stream.Code
	}{
		{"idle", http2.ServerOptions{IdleTimeout: time.Minute}, func(p *peer) string { return p.patient() }, "connection NO_ERROR", time.Minute, stream.IdleTimeout},
		{"idle after a request", http2.ServerOptions{IdleTimeout: time.Minute}, func(p *peer) string {
			time.Sleep(30 * time.Second)
			p.get(1)
			return p.patient()
		}, "connection NO_ERROR", 90 * time.Second, stream.IdleTimeout},
		{"request", http2.ServerOptions{RequestTimeout: 20 * time.Second}, func(p *peer) string {
			p.post(1)
			p.ok(p.end.SetReadDeadline(time.Time{}))
			return p.slow(1)
		}, "408 request timeout", 20 * time.Second, stream.None},
		{"silent stream", http2.ServerOptions{StreamIdleTimeout: 40 * time.Second}, func(p *peer) string {
			p.post(1)
			time.Sleep(30 * time.Second)
			p.ok(p.fr.WriteData(1, false, []byte("x")))
			return p.slow(1)
		}, "504 stream timeout", 70 * time.Second, stream.None},
		{"keep-alive", http2.ServerOptions{Limits: http2.Limits{KeepAlive: 30 * time.Second, KeepAliveTimeout: 5 * time.Second}}, func(p *peer) string {
			return p.patient()
		}, "connection NO_ERROR", 35 * time.Second, stream.DownstreamGone},
		{"drain", http2.ServerOptions{DrainTime: 15 * time.Second}, func(p *peer) string {
			p.post(1)
			p.drain()
			return p.slow(1)
		}, " GOAWAY NO_ERROR", 0, stream.None},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, c := rawClient(t, tt.o, func(s *stream.Stream) (*stream.Response, error) {
					resp, err := show(s)
					if r, reset := s.ResetReason(); reset {
						return nil, stream.NewReply(0, r)
					}
					return resp, err
				})
				p.drain = c.Drain
				p.must(p.end.Write([]byte(xhttp2.ClientPreface)))
				p.ok(p.fr.WriteSettings())
				p.greeted()
				begun := time.Now()
				if got := tt.do(p); got != tt.want || time.Since(begun) != tt.at {
					t.Errorf("%q after %v, want %q after %v", got, time.Since(begun), tt.want, tt.at)
				}
				p.end.Close()
				if r := p.reason(); tt.end != stream.None && r.Code != tt.end {
					t.Errorf("Serve = %v", r)
				}
			})
		})
	}
}

// patient is verdict without a limit of time.
func (p *peer) patient() string {
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			return err.Error()
		}
		if g, ok := f.(*xhttp2.GoAwayFrame); ok {
			return "connection " + g.ErrCode.String()
		}
	}
}

// slow is response without a limit of time.
func (p *peer) slow(id uint32) string {
	got := ""
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			return err.Error()
		}
		switch f := f.(type) {
		case *xhttp2.MetaHeadersFrame:
			got += f.PseudoValue("status")
			if f.StreamEnded() {
				return got
			}
		case *xhttp2.DataFrame:
			got += " " + string(f.Data())
			if f.StreamEnded() {
				return got
			}
		case *xhttp2.GoAwayFrame:
			return got + " GOAWAY " + f.ErrCode.String()
		}
	}
}

// A client that says nothing, or does not acknowledge, is given up.
func TestSettingsTimeout(t *testing.T) {
	for _, sent := range []string{"", xhttp2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"} {
		synctest.Test(t, func(t *testing.T) {
			p, _ := rawClient(t, http2.ServerOptions{}, show)
			p.must(p.end.Write([]byte(sent)))
			begun := time.Now()
			if got := p.patient(); got != "connection SETTINGS_TIMEOUT" || time.Since(begun) != http2.DefaultSettingsTimeout {
				t.Errorf("%s after %v", got, time.Since(begun))
			}
		})
	}
}

// A client connection asks a silent server whether it is there, and gives it up.
func TestClientKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := server(t, http2.ClientOptions{Limits: http2.Limits{KeepAlive: 10 * time.Second, KeepAliveTimeout: 3 * time.Second}})
		p.ok(p.end.SetReadDeadline(time.Time{}))
		x := sent(t, c)
		begun := time.Now()
		p.read() // the request
		p.ok(p.end.SetReadDeadline(time.Time{}))
		for range 3 {
			f, err := p.fr.ReadFrame()
			p.ok(err)
			p.ok(p.fr.WritePing(true, f.(*xhttp2.PingFrame).Data))
		}
		if d := time.Since(begun); d != 30*time.Second {
			t.Errorf("three PINGs in %v", d)
		}
		if _, err := x.Receive(); codeOf(err) != stream.UpstreamReset {
			t.Errorf("Receive = %v", err)
		}
		if d := time.Since(begun); d != 43*time.Second {
			t.Errorf("given up after %v", d)
		}
	})
}

// A client that takes nothing cannot keep Serve from ending.
func TestStuckWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, c := rawClient(t, http2.ServerOptions{}, func(*stream.Stream) (*stream.Response, error) {
			return &stream.Response{Status: 200, Length: -1, Body: endless{}}, nil
		})
		p.must(p.end.Write([]byte(xhttp2.ClientPreface)))
		p.ok(p.fr.WriteSettings(xhttp2.Setting{ID: xhttp2.SettingInitialWindowSize, Val: 1 << 30}))
		p.greeted()
		p.ok(p.fr.WriteWindowUpdate(0, 1<<30))
		p.get(1)
		synctest.Wait()
		begun := time.Now()
		c.Close(stream.Reason{Code: stream.Overload})
		if r := p.reason(); r.Code != stream.Overload || time.Since(begun) > 3*time.Second {
			t.Errorf("%v after %v", r, time.Since(begun))
		}
	})
}

// endless is a body that does not end.
type endless struct{}

func (endless) Next() ([]byte, error)  { return make([]byte, 8192), nil }
func (endless) Buffered() (int, bool)  { return 8192, false }
func (endless) Trailers() *stream.Head { return nil }
func (endless) Close(stream.Reason)    {}
