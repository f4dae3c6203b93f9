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

// responses are what endpoints send to a GET. body is what is read of it; keep
// whether the connection can be used again.
var responses = []struct {
	name, in string
	status   int // 0: refused
	body     string
	keep     bool
	cut      bool // the body ends early
}{
	{"length", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, "abc", true, false},
	{"no phrase", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 200, "", true, false},
	{"no space either", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", 200, "", true, false},
	{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", 200, "abc", true, false},
	{"until close", "HTTP/1.1 200 OK\r\n\r\nabc", 200, "abc", false, false},
	{"close", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc", 200, "abc", false, false},
	{"http/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc", 200, "abc", false, false},
	{"http/1.0 kept", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 3\r\n\r\nabc", 200, "abc", true, false},
	{"204", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", true, false},
	{"304 with length", "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n", 304, "", true, false},
	{"surplus", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n", 200, "abc", false, false},
	{"length cut", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", 200, "abc", false, true},
	{"chunked cut", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", 200, "abc", false, true},
	{"bad chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 200, "", false, true},
	{"nothing", "", 0, "", false, false},
	{"half a head", "HTTP/1.1 200 OK\r\nA:", 0, "", false, false},
	{"not http", "SSH-2.0-OpenSSH_9\r\n\r\n", 0, "", false, false},
	{"http/2", "HTTP/2.0 200 OK\r\n\r\n", 0, "", false, false},
	{"bad status", "HTTP/1.1 2x0 OK\r\n\r\n", 0, "", false, false},
	{"status too small", "HTTP/1.1 099 OK\r\n\r\n", 0, "", false, false},
	{"long status", "HTTP/1.1 2000 OK\r\n\r\n", 0, "", false, false},
	{"leading space", " HTTP/1.1 200 OK\r\n\r\n", 0, "", false, false},
	{"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", 0, "", false, false},
	{"folded", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 0\r\n\r\n", 0, "", false, false},
	{"length and coding", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 0, "", false, false},
	{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 0, "", false, false},
	{"gzip coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nabc", 0, "", false, false},
	{"space before colon", "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc", 0, "", false, false},
	{"unasked upgrade", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", 0, "", false, false},
	{"too large", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 70<<10) + "\r\n\r\n", 0, "", false, false},
	{"too many", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 101) + "\r\n", 0, "", false, false},
}

// opened is a client connection, its exchange, and the endpoint's end.
func opened(t *testing.T, method string) (*ClientConn, stream.Exchange, *pipe.End, *stream.Request) {
	t.Helper()
	near, far := pipe.New()
	c := NewClientConn(near, ClientOptions{})
	x, err := c.Open(&stream.Stream{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(stream.Reason{}); far.Close() })
	return c, x, far, &stream.Request{Method: []byte(method), Path: []byte("/"), Authority: []byte("a")}
}

func TestClientResponses(t *testing.T) {
	for _, tt := range responses {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, x, far, r := opened(t, "GET")
				go func() {
					far.Write([]byte(tt.in))
					if tt.cut || tt.status == 0 || tt.name == "until close" {
						far.CloseWrite()
					}
				}()
				if err := x.Send(r, nil, true); err != nil {
					t.Fatal(err)
				}
				resp, err := x.Receive()
				if tt.status == 0 {
					var reason stream.Reason
					if !errors.As(err, &reason) || reason.Code != stream.UpstreamProtocol && reason.Code != stream.UpstreamReset {
						t.Errorf("Receive = %v", err)
					}
					if x.Release() {
						t.Error("reusable")
					}
					return
				}
				if err != nil || resp.Status != tt.status {
					t.Fatalf("Receive = %+v, %v", resp, err)
				}
				var body []byte
				if resp.Body != nil {
					if body, err = readAll(resp.Body); (err != nil) != tt.cut {
						t.Errorf("body ended with %v", err)
					}
				}
				if string(body) != tt.body {
					t.Errorf("body %q", body)
				}
				if keep := x.Release(); keep != tt.keep {
					t.Errorf("reusable = %v", keep)
				}
			})
		})
	}
}

// The end of the answer is not the end of the exchange: a connection on which half
// a request stands must not get another.
func TestClientHalfSentIsNotReused(t *testing.T) {
	c, x, far, r := opened(t, "POST")
	r.Length = 10
	if err := x.Send(r, []byte("abc"), false); err != nil {
		t.Fatal(err)
	}
	far.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	if _, err := x.Receive(); err != nil {
		t.Fatal(err)
	}
	if x.Release() || c.Reusable() {
		t.Error("reusable")
	}
}

// A response body that is not read to its end takes its connection with it.
func TestClientHalfReadIsNotReused(t *testing.T) {
	c, x, far, r := opened(t, "GET")
	far.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"))
	if err := x.Send(r, nil, true); err != nil {
		t.Fatal(err)
	}
	resp, err := x.Receive()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := resp.Body.Next(); err != nil {
		t.Fatal(err)
	}
	want := stream.Reason{Code: stream.DownstreamGone}
	resp.Body.Close(want)
	resp.Body.Close(stream.Reason{})
	if _, err := resp.Body.Next(); err != want {
		t.Errorf("Next after Close = %v", err)
	}
	if x.Release() || c.Reusable() {
		t.Error("reusable")
	}
}

// Close, from another goroutine, wakes who waits for more of the body.
func TestBodyCloseWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, x, far, r := opened(t, "GET")
		far.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"))
		if err := x.Send(r, nil, true); err != nil {
			t.Fatal(err)
		}
		resp, err := x.Receive()
		if err != nil {
			t.Fatal(err)
		}
		want := stream.Reason{Code: stream.DownstreamGone}
		time.AfterFunc(time.Second, func() { resp.Body.Close(want) })
		if _, err := resp.Body.Next(); err != want {
			t.Errorf("Next = %v", err)
		}
	})
}

func TestClientHead(t *testing.T) {
	c, x, far, r := opened(t, "HEAD")
	far.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"))
	if err := x.Send(r, nil, true); err != nil {
		t.Fatal(err)
	}
	resp, err := x.Receive()
	if err != nil || resp.Body != nil || resp.Length != 3 {
		t.Errorf("Receive = %+v, %v", resp, err)
	}
	if !x.Release() || !c.Reusable() || c.Free() != 1 {
		t.Error("not reusable")
	}
}

func TestClientInterim(t *testing.T) {
	_, x, far, r := opened(t, "GET")
	far.Write([]byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	if err := x.Send(r, nil, true); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{100, 103, 200} {
		resp, err := x.Receive()
		if err != nil || resp.Status != want {
			t.Fatalf("Receive = %+v, %v; want %d", resp, err, want)
		}
	}
	if _, err := x.Receive(); err == nil {
		t.Error("a response after the final one")
	}
}

func TestClientSend(t *testing.T) {
	long := strings.Repeat("x", 20<<10)
	tests := []struct {
		name string
		send func(x stream.Exchange, r *stream.Request) error
		want string
	}{
		{"no body", func(x stream.Exchange, r *stream.Request) error { return x.Send(r, nil, true) }, "PUT / HTTP/1.1\r\nhost: a\r\n\r\n"},
		{"whole body", func(x stream.Exchange, r *stream.Request) error {
			r.Length = 3
			return x.Send(r, []byte("abc"), true)
		}, "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"},
		{"in parts", func(x stream.Exchange, r *stream.Request) error {
			r.Length = int64(len(long)) + 1
			return errors.Join(x.Send(r, []byte("a"), false), x.Write([]byte(long), true))
		}, "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 20481\r\n\r\na" + long},
		{"chunked with trailers", func(x stream.Exchange, r *stream.Request) error {
			r.Length = -1
			h := &stream.Head{}
			h.AddRaw([]byte("X-Sum"), []byte("1"))
			return errors.Join(x.Send(r, nil, false), x.Write([]byte("abc"), false), x.Write([]byte(long), false), x.Trailers(h))
		}, "PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n5000\r\n" + long + "\r\n0\r\nX-Sum: 1\r\n\r\n"},
		{"body was dropped", func(x stream.Exchange, r *stream.Request) error {
			r.AddString(stream.ContentLength, "7")
			return x.Send(r, nil, true)
		}, "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n"},
		{"host in its place", func(x stream.Exchange, r *stream.Request) error {
			r.AddRaw([]byte("A"), []byte("1"))
			r.AddRaw([]byte("HOST"), []byte("old"))
			r.AddRaw([]byte("B"), []byte("2"))
			return x.Send(r, nil, true)
		}, "PUT / HTTP/1.1\r\nA: 1\r\nHOST: a\r\nB: 2\r\n\r\n"},
		{"upgrade", func(x stream.Exchange, r *stream.Request) error {
			r.Upgrade = "websocket"
			return x.Send(r, nil, false)
		}, "PUT / HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, x, far, r := opened(t, "PUT")
			if err := tt.send(x, r); err != nil {
				t.Fatal(err)
			}
			c.Close(stream.Reason{})
			if got, _ := io.ReadAll(far); string(got) != tt.want {
				t.Errorf("got %q\nwant %q", got, tt.want)
			}
		})
	}
	t.Run("one write for head and body", func(t *testing.T) {
		near, _ := pipe.New()
		c := NewClientConn(near, ClientOptions{})
		x, _ := c.Open(nil)
		r := &stream.Request{Method: []byte("PUT"), Path: []byte("/"), Length: 30 << 10}
		if err := x.Send(r, make([]byte, 30<<10), true); err != nil {
			t.Fatal(err)
		}
		if n, _ := near.Calls(); n != 1 {
			t.Errorf("%d writes", n)
		}
	})
	t.Run("length is held", func(t *testing.T) {
		_, x, _, r := opened(t, "PUT")
		r.Length = 2
		if err := x.Send(r, []byte("abc"), true); err == nil {
			t.Error("a longer body was sent")
		}
	})
}

func TestClientCancel(t *testing.T) {
	want := stream.Reason{Code: stream.RouteTimeout}
	for _, how := range []string{"receive", "body", "write"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, x, far, r := opened(t, "PUT")
				r.Length = -1
				time.AfterFunc(time.Second, func() { x.Cancel(want); x.Cancel(stream.Reason{Code: stream.Draining}) })
				var err error
				switch how {
				case "write":
					err = x.Send(r, make([]byte, 1<<20), false)
				case "receive":
					if err := x.Send(r, nil, false); err != nil {
						t.Fatal(err)
					}
					_, err = x.Receive()
				case "body":
					if err := x.Send(r, nil, false); err != nil {
						t.Fatal(err)
					}
					far.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na"))
					resp, rerr := x.Receive()
					if rerr != nil {
						t.Fatal(rerr)
					}
					_, err = readAll(resp.Body)
				}
				if err != want {
					t.Errorf("err = %v", err)
				}
				if x.Release() || c.Reusable() {
					t.Error("reusable after cancel")
				}
				x.Cancel(want) // late: nothing to hit
			})
		})
	}
}

func TestClientDelivery(t *testing.T) {
	t.Run("connection gone", func(t *testing.T) {
		near, far := pipe.New()
		c := NewClientConn(near, ClientOptions{})
		x, err := c.Open(nil)
		if err != nil {
			t.Fatal(err)
		}
		far.Reset()
		if err := x.Send(&stream.Request{Method: []byte("GET"), Path: []byte("/")}, nil, true); err == nil {
			t.Fatal("sent")
		}
		if d := x.Delivery(); d != stream.Unsent {
			t.Errorf("delivery %v", d)
		}
	})
	t.Run("sent", func(t *testing.T) {
		_, x, _, r := opened(t, "GET")
		if d := x.Delivery(); d != stream.Unsent {
			t.Errorf("before: %v", d)
		}
		x.Send(r, nil, true)
		if d := x.Delivery(); d != stream.Maybe {
			t.Errorf("after: %v", d)
		}
	})
}

func TestClientHangup(t *testing.T) {
	near, far := pipe.New()
	gone := 0
	c := NewClientConn(near, ClientOptions{Gone: func() { gone++ }})
	far.Close()
	if gone != 1 || c.Reusable() || c.Free() != 0 {
		t.Errorf("gone %d times, reusable %v", gone, c.Reusable())
	}
	if _, err := c.Open(nil); err == nil {
		t.Error("opened")
	}
}

func TestClientUpgrade(t *testing.T) {
	_, x, far, r := opened(t, "GET")
	r.Upgrade = "websocket"
	if err := x.Send(r, nil, true); err != nil {
		t.Fatal(err)
	}
	far.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nearly"))
	resp, err := x.Receive()
	if err != nil || resp.Tunnel == nil {
		t.Fatalf("Receive = %+v, %v", resp, err)
	}
	far.CloseWrite()
	if got, err := io.ReadAll(resp.Tunnel); string(got) != "early" || err != nil {
		t.Errorf("tunnel gave %q, %v", got, err)
	}
	resp.Tunnel.Write([]byte("up"))
	resp.Tunnel.CloseWrite()
	if got, _ := io.ReadAll(far); !strings.HasSuffix(string(got), "\r\n\r\nup") {
		t.Errorf("endpoint got %q", got)
	}
	if x.Release() {
		t.Error("reusable")
	}
}
