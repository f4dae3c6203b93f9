package http1

import (
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

func TestServerExpectContinue(t *testing.T) {
	post := "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
	t.Run("body wanted", func(t *testing.T) {
		s := serve(t, ServerOptions{}, echo)
		s.client.Write([]byte(post))
		until(t, s.client, "HTTP/1.1 100 Continue\r\n\r\n")
		s.client.Write([]byte("hi"))
		until(t, s.client, "[hi]\n")
	})
	t.Run("upstream's own 100", func(t *testing.T) {
		s := serve(t, ServerOptions{}, func(s *stream.Stream) (*stream.Response, error) {
			s.Inform(100, nil)
			return echo(s)
		})
		s.client.Write([]byte(post))
		if got := until(t, s.client, "\r\n\r\n"); got != "HTTP/1.1 100 Continue\r\n\r\n" {
			t.Errorf("got %q", got)
		}
		s.client.Write([]byte("hi"))
		if got := until(t, s.client, "[hi]\n"); strings.Contains(got, "100 Continue") {
			t.Errorf("a second 100: %q", got)
		}
	})
	t.Run("body not wanted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, ServerOptions{}, func(*stream.Stream) (*stream.Response, error) { return text(401, ""), nil })
			if got, want := s.ask(post), "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n"+closing; got != want {
				t.Errorf("got %q\nwant %q", got, want)
			}
		})
	})
}

func TestServerInform(t *testing.T) {
	s := serve(t, ServerOptions{}, func(s *stream.Stream) (*stream.Response, error) {
		h := &stream.Head{}
		h.AddRaw([]byte("Link"), []byte("</a>"))
		if err := s.Inform(103, h); err != nil {
			t.Error(err)
		}
		if err := s.Inform(101, h); err == nil {
			t.Error("101 was passed as informational")
		}
		return text(200, ""), nil
	})
	got := s.ask("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	if want := "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + closing; got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestEarlyResponse(t *testing.T) {
	early := func(*stream.Stream) (*stream.Response, error) { return text(413, "no"), nil }
	t.Run("little left keeps the connection", func(t *testing.T) {
		o := &seen{}
		s := serve(t, ServerOptions{Observers: []stream.Observer{o}}, early)
		s.client.Write([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab"))
		if got := until(t, s.client, "no"); strings.Contains(got, "close") {
			t.Errorf("got %q", got)
		}
		s.client.Write([]byte("cdGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
		s.rest()
		if len(o.methods) != 2 || o.methods[1] != "GET" {
			t.Errorf("methods %q: the rest of the body was taken for a request", o.methods)
		}
	})
	t.Run("much left closes, after the answer could be read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, ServerOptions{}, early)
			done := make(chan error)
			go func() {
				_, err := s.client.Write([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + strings.Repeat("x", 150000)))
				done <- err
			}()
			got := s.rest()
			if want := "HTTP/1.1 413 Payload Too Large\r\ncontent-length: 2\r\n" + closing + "no"; got != want {
				t.Errorf("got %q\nwant %q", got, want)
			}
			if err := <-done; err != nil {
				t.Errorf("the upload met %v", err)
			}
		})
	})
}

func TestServerUpgrade(t *testing.T) {
	o := &seen{}
	s := serve(t, ServerOptions{Upgrades: []string{"websocket"}, Observers: []stream.Observer{o}}, func(s *stream.Stream) (*stream.Response, error) {
		if s.Request.Upgrade != "websocket" {
			t.Errorf("upgrade %q", s.Request.Upgrade)
		}
		near, far := pipe.New()
		go func() { // the origin echoes in capitals, and ends when we do
			b, _ := io.ReadAll(far)
			far.Write([]byte(strings.ToUpper(string(b))))
			far.CloseWrite()
		}()
		r := &stream.Response{Status: 101, Tunnel: near}
		r.AddRaw([]byte("Sec-WebSocket-Accept"), []byte("k"))
		return r, nil
	})
	s.client.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\nfirst "))
	head := until(t, s.client, "\r\n\r\n")
	if want := "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: k\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"; head != want {
		t.Errorf("got %q\nwant %q", head, want)
	}
	s.client.Write([]byte("second"))
	s.client.CloseWrite()
	if got := s.rest(); got != "FIRST SECOND" {
		t.Errorf("tunnel gave %q", got)
	}
	if out := o.outcomes[0]; out.BytesReceived != 12 || out.BytesSent != 12 || out.Reason.Code != stream.None {
		t.Errorf("outcome %+v", out)
	}
}

// blocked waits until its stream is reset.
func blocked(s *stream.Stream) (*stream.Response, error) {
	<-s.Done()
	r, _ := s.ResetReason()
	return nil, stream.NewReply(0, r)
}

func TestServerTimeouts(t *testing.T) {
	get := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name, in string
		o        ServerOptions
		h        stream.HandlerFunc
		after    time.Duration
		want     string
		reason   stream.Code
	}{
		{"idle from the start", "", ServerOptions{IdleTimeout: time.Minute}, echo, time.Minute, "", stream.IdleTimeout},
		{"idle between", get, ServerOptions{IdleTimeout: time.Minute}, func(*stream.Stream) (*stream.Response, error) {
			time.Sleep(10 * time.Minute)
			return text(200, ""), nil
		}, 11 * time.Minute, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", stream.IdleTimeout},
		{"head", "GET / HTTP/1.1\r\nHos", ServerOptions{HeadersTimeout: 10 * time.Second, RequestTimeout: time.Minute}, echo, 10 * time.Second,
			"HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\ncontent-length: 15\r\n" + closing + "Request Timeout", stream.RequestTimeout},
		{"request", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nabc", ServerOptions{HeadersTimeout: 10 * time.Second, RequestTimeout: time.Minute},
			func(s *stream.Stream) (*stream.Response, error) {
				_, err := readAll(s.Request.Body)
				var r stream.Reason
				if errors.As(err, &r) {
					return nil, stream.NewReply(0, r)
				}
				return nil, err
			}, time.Minute, "HTTP/1.1 408 Request Timeout\r\ncontent-type: text/plain\r\ncontent-length: 15\r\n" + closing + "request timeout", stream.RequestTimeout},
		{"silence", get, ServerOptions{StreamIdleTimeout: 5 * time.Minute}, blocked, 5 * time.Minute,
			"HTTP/1.1 504 Gateway Timeout\r\ncontent-type: text/plain\r\ncontent-length: 14\r\n" + closing + "stream timeout", stream.IdleTimeout},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, tt.o, tt.h)
				start := time.Now()
				s.client.Write([]byte(tt.in))
				got, err := io.ReadAll(s.client)
				if string(got) != tt.want || err != nil {
					t.Errorf("got %q, %v\nwant %q", got, err, tt.want)
				}
				if d := time.Since(start); d != tt.after {
					t.Errorf("after %v, want %v", d, tt.after)
				}
				s.client.Close()
				if r := s.wait(); r.Code != tt.reason {
					t.Errorf("reason %v, want %v", r, tt.reason)
				}
			})
		})
	}
}

// Bytes in either direction put the time-out of silence off.
func TestStreamIdleTimeoutMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, ServerOptions{StreamIdleTimeout: 10 * time.Second}, echo)
		s.client.Write([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\n"))
		for range 10 {
			time.Sleep(9 * time.Second)
			s.client.Write([]byte("x"))
		}
		if got := s.rest(); !strings.Contains(got, "[xxxxxxxxxx]") {
			t.Errorf("got %q", got)
		}
	})
}

func TestClientLeaves(t *testing.T) {
	for _, leave := range []string{"close", "half-close", "reset"} {
		t.Run(leave, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &seen{}
				s := serve(t, ServerOptions{Observers: []stream.Observer{o}}, blocked)
				s.client.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
				synctest.Wait()
				switch leave {
				case "close":
					s.client.Close()
				case "half-close":
					s.client.CloseWrite()
				case "reset":
					s.client.Reset()
				}
				if r := s.wait(); r.Code != stream.DownstreamGone {
					t.Errorf("reason %v", r)
				}
				if len(o.outcomes) != 1 || o.outcomes[0].Reason.Code != stream.DownstreamGone || o.outcomes[0].Status != 0 {
					t.Errorf("outcomes %+v", o.outcomes)
				}
			})
		})
	}
}

func TestDrain(t *testing.T) {
	t.Run("idle", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, ServerOptions{}, echo)
			synctest.Wait()
			s.conn.Drain()
			if r := s.wait(); r.Code != stream.Draining {
				t.Errorf("reason %v", r)
			}
		})
	})
	t.Run("busy", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			goOn := make(chan struct{})
			s := serve(t, ServerOptions{}, func(*stream.Stream) (*stream.Response, error) {
				<-goOn
				return text(200, "done"), nil
			})
			s.client.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
			synctest.Wait()
			s.conn.Drain()
			synctest.Wait()
			close(goOn)
			if got, want := s.rest(), "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n"+closing+"done"; got != want {
				t.Errorf("got %q\nwant %q", got, want)
			}
			if r := s.wait(); r.Code != stream.Draining {
				t.Errorf("reason %v", r)
			}
		})
	})
}

func TestCloseResetsStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &seen{}
		s := serve(t, ServerOptions{Observers: []stream.Observer{o}}, blocked)
		s.client.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		synctest.Wait()
		s.conn.Close(stream.Reason{Code: stream.PolicyDenied})
		if got := s.rest(); got != "" {
			t.Errorf("got %q", got)
		}
		if r := s.wait(); r.Code != stream.PolicyDenied {
			t.Errorf("reason %v", r)
		}
		if len(o.outcomes) != 1 || o.outcomes[0].Reason.Code != stream.PolicyDenied {
			t.Errorf("outcomes %+v", o.outcomes)
		}
	})
}

// A client that reads nothing is cut by the time-out of silence.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &seen{}
		s := serve(t, ServerOptions{StreamIdleTimeout: time.Second, Observers: []stream.Observer{o}}, func(*stream.Stream) (*stream.Response, error) {
			return text(200, strings.Repeat("x", 1<<20)), nil
		})
		s.client.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		if r := s.wait(); r.Code != stream.IdleTimeout {
			t.Errorf("reason %v", r)
		}
		if len(o.outcomes) != 1 || o.outcomes[0].Reason.Code != stream.IdleTimeout {
			t.Errorf("outcomes %+v", o.outcomes)
		}
	})
}

func TestUnsupportedProtocols(t *testing.T) {
	for in, want := range map[string]string{
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n":  refused(505),
		"GET / HTTP/1.0\r\nHost: x\r\n\r\n": strings.Replace(refused(426), "HTTP/1.1", "HTTP/1.0", 1),
	} {
		synctest.Test(t, func(t *testing.T) {
			o := &seen{}
			s := serve(t, ServerOptions{Observers: []stream.Observer{o}}, echo)
			if got := s.ask(in); got != want {
				t.Errorf("got %q\nwant %q", got, want)
			}
			if r := s.wait(); r.Code != stream.UnsupportedProtocol {
				t.Errorf("reason %v", r)
			}
			if len(o.outcomes) != 1 || o.outcomes[0].Reason.Code != stream.UnsupportedProtocol {
				t.Errorf("outcomes %+v", o.outcomes)
			}
		})
	}
}
