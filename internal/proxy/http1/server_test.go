package http1

import (
	"io"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

const closing = "connection: close\r\n\r\n"

func TestServerExchange(t *testing.T) {
	head := func(n string) string { return "HTTP/1.1 200 OK\r\ncontent-length: " + n + "\r\n" }
	tests := []struct{ name, in, want string }{
		{"get", "GET /a?b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
			head("24") + closing + "GET http://x/a?b\nHost=x\n"},
		{"empty line first", "\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
			head("21") + closing + "GET http://x/\nHost=x\n"},
		{"case, order and spacing", "GET / HTTP/1.1\r\nHoSt:x\r\nX-b:  2 \r\nx-A: 1\r\nConnection: close\r\n\r\n",
			head("33") + closing + "GET http://x/\nHoSt=x\nX-b=2\nx-A=1\n"},
		{"absolute target", "GET http://y:80?q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
			head("26") + closing + "GET http://y:80/?q\nHost=x\n"},
		{"options *", "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
			head("25") + closing + "OPTIONS http://x*\nHost=x\n"},
		{"length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
			head("47") + closing + "POST http://x/\nHost=x\nContent-Length=5\n[hello]\n"},
		{"chunked", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nConnection: close\r\n\r\n5;a=\"b\"\r\nhello\r\n0a\r\n0123456789\r\n0\r\n\r\n",
			head("40") + closing + "POST http://x/\nHost=x\n[hello0123456789]\n"},
		{"trailers", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\na\r\n0\r\nX-Sum: 7\r\nY:z\r\n\r\n",
			head("54") + closing + "POST http://x/\nHost=x\n[a]\ntrailer X-Sum=7\ntrailer Y=z\n"},
		{"hop by hop", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close, x-mine\r\nKeep-Alive: 5\r\nProxy-Connection: k\r\nTE: gzip\r\nX-Mine: 1\r\nUpgrade: h2c\r\nX-Kept: 1\r\n\r\n",
			head("30") + closing + "GET http://x/\nHost=x\nX-Kept=1\n"},
		{"te trailers stays", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close, te\r\nTE: trailers\r\n\r\n",
			head("33") + closing + "GET http://x/\nHost=x\nTE=trailers\n"},
		{"pipelined", "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nPOST /2 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nzGET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
			head("22") + "\r\nGET http://x/1\nHost=x\n" + head("44") + "\r\nPOST http://x/2\nHost=x\nContent-Length=1\n[z]\n" + head("22") + closing + "GET http://x/3\nHost=x\n"},
		{"http/1.0", "GET / HTTP/1.0\r\n\r\n", "HTTP/1.0 200 OK\r\ncontent-length: 18\r\n" + closing + "GET http://dflt/\n "[:16] + "\n"},
		{"http/1.0 keep-alive", "GET / HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\nHost: x\r\n\r\n",
			"HTTP/1.0 200 OK\r\ncontent-length: 21\r\nconnection: keep-alive\r\n\r\nGET http://x/\nHost=x\nHTTP/1.0 200 OK\r\ncontent-length: 21\r\n" + closing + "GET http://x/\nHost=x\n"},
		{"upgrade not allowed", "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade, close\r\nUpgrade: foo\r\n\r\n",
			head("21") + closing + "GET http://x/\nHost=x\n"},
	}
	for _, tt := range tests {
		if tt.name == "http/1.0" {
			tt.want = "HTTP/1.0 200 OK\r\ncontent-length: 17\r\n" + closing + "GET http://dflt/\n"
		}
		for _, short := range []int{0, 1, 7} {
			t.Run(tt.name, func(t *testing.T) {
				s := serveShort(t, ServerOptions{HTTP10: true, DefaultHost: "dflt"}, echo, short)
				if got := s.ask(tt.in); got != tt.want {
					t.Errorf("short reads %d:\n got %q\nwant %q", short, got, tt.want)
				}
			})
		}
	}
}

func serveShort(t *testing.T, o ServerOptions, h stream.HandlerFunc, short int) *served {
	t.Helper()
	client, server := pipe.New()
	server.ShortReads(short)
	s := &served{t: t, client: client, done: make(chan stream.Reason, 1)}
	s.conn = NewServerConn(server, &stream.Conn{}, o)
	go func() { s.done <- s.conn.Serve(h) }()
	t.Cleanup(func() { client.Close(); <-s.done })
	return s
}

func TestServerResponses(t *testing.T) {
	get := "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	header := func(r *stream.Response, kv ...string) *stream.Response {
		for i := 0; i < len(kv); i += 2 {
			r.AddRaw([]byte(kv[i]), []byte(kv[i+1]))
		}
		return r
	}
	tests := []struct {
		name, in string
		resp     *stream.Response
		want     string
	}{
		{"empty", get, &stream.Response{Status: 200}, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n" + closing},
		{"204", get, header(&stream.Response{Status: 204}, "Content-Length", "3"), "HTTP/1.1 204 No Content\r\n" + closing},
		{"304 keeps the length", get, header(&stream.Response{Status: 304}, "Content-Length", "3"), "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n" + closing},
		{"unknown status", get, &stream.Response{Status: 299}, "HTTP/1.1 299 \r\ncontent-length: 0\r\n" + closing},
		{"head", strings.Replace(get, "GET", "HEAD", 1), header(text(200, "hello"), "Content-Length", "5"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + closing},
		{"head of a local answer", strings.Replace(get, "GET", "HEAD", 1), text(200, "hello"), "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n" + closing},
		{"length corrected", get, header(text(200, "hello"), "Content-Length", "9", "X", "y"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n" + closing + "hello"},
		{"chunked", get, &stream.Response{Status: 200, Length: -1, Body: &pieces{parts: []string{"a", "0123456789abcdefgh"}, trailer: "X-T"}},
			"HTTP/1.1 200 OK\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n12\r\n0123456789abcdefgh\r\n0\r\nx-t: 1\r\n\r\n"},
		{"until close for http/1.0", "GET / HTTP/1.0\r\n\r\n", &stream.Response{Status: 200, Length: -1, Body: &pieces{parts: []string{"a", "b"}}},
			"HTTP/1.0 200 OK\r\n" + closing + "ab"},
		{"hop by hop", strings.Replace(get, "Connection: close\r\n", "", 1), header(text(200, ""), "Connection", "close", "Keep-Alive", "x", "Transfer-Encoding", "gzip", "A", "b"),
			"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 0\r\n" + closing},
		{"large", get, text(200, strings.Repeat("x", 300<<10)), "HTTP/1.1 200 OK\r\ncontent-length: 307200\r\n" + closing + strings.Repeat("x", 300<<10)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, ServerOptions{HTTP10: true}, func(*stream.Stream) (*stream.Response, error) { return tt.resp, nil })
			if got := s.ask(tt.in); got != tt.want {
				t.Errorf("got %.300q\nwant %.300q", got, tt.want)
			}
		})
	}
}

// pieces is a body of several chunks, each of which is all that is there.
type pieces struct {
	parts   []string
	trailer string
	err     error
	closed  int
}

func (p *pieces) Next() ([]byte, error) {
	if len(p.parts) == 0 {
		if p.err != nil {
			return nil, p.err
		}
		return nil, io.EOF
	}
	s := p.parts[0]
	p.parts = p.parts[1:]
	return []byte(s), nil
}
func (p *pieces) Buffered() (int, bool) { return 0, false }
func (p *pieces) Trailers() *stream.Head {
	if p.trailer == "" {
		return nil
	}
	h := &stream.Head{}
	h.AddString(stream.N(p.trailer), "1")
	return h
}
func (p *pieces) Close(stream.Reason) { p.closed++ }

// seen records outcomes.
type seen struct {
	outcomes []stream.Outcome
	methods  []string
}

func (o *seen) Done(s *stream.Stream, out *stream.Outcome) {
	o.outcomes = append(o.outcomes, *out)
	o.methods = append(o.methods, string(s.Request.Method))
}

// counter counts recyclings.
type counter chan struct{}

func (c counter) Recycle() { c <- struct{}{} }

func TestServerErrors(t *testing.T) {
	get := "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	tests := []struct {
		name   string
		h      stream.HandlerFunc
		want   string
		code   stream.Code
		status int
	}{
		{"reply", func(*stream.Stream) (*stream.Response, error) {
			r := stream.NewReply(0, stream.Reason{Code: stream.NoHealthyUpstream})
			r.Headers = [][2]string{{"x-a", "b"}}
			return nil, r
		}, "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nx-a: b\r\ncontent-length: 19\r\n\r\nno healthy upstream", stream.NoHealthyUpstream, 503},
		{"reset", func(*stream.Stream) (*stream.Response, error) { return nil, stream.Reason{Code: stream.UpstreamReset} }, "", stream.UpstreamReset, 0},
		{"panic", func(*stream.Stream) (*stream.Response, error) { panic("boom") },
			"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", stream.Internal, 500},
		{"nothing", func(*stream.Stream) (*stream.Response, error) { return nil, nil },
			"HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n", stream.Internal, 500},
		{"upstream cut", func(*stream.Stream) (*stream.Response, error) {
			return &stream.Response{Status: 200, Length: -1, Body: &pieces{parts: []string{"a"}, err: stream.Reason{Code: stream.UpstreamReset}}}, nil
		}, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n", stream.UpstreamReset, 200},
		{"too short", func(*stream.Stream) (*stream.Response, error) {
			r := text(200, "abc")
			r.Length = 5
			return r, nil
		}, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nabc", stream.Internal, 200},
		{"too long", func(*stream.Stream) (*stream.Response, error) {
			r := text(200, "abc")
			r.Length = 2
			return r, nil
		}, "", stream.Internal, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := &seen{}
			recycled := make(counter, 2)
			s := serve(t, ServerOptions{Observers: []stream.Observer{o}}, func(s *stream.Stream) (*stream.Response, error) {
				s.OnRecycle(recycled)
				return tt.h(s)
			})
			s.client.Write([]byte(get))
			s.client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			got, _ := io.ReadAll(s.client)
			if string(got) != tt.want {
				t.Errorf("got %q\nwant %q", got, tt.want)
			}
			s.client.Close()
			s.wait()
			if len(o.outcomes) != 1 || o.outcomes[0].Reason.Code != tt.code || o.outcomes[0].Status != tt.status {
				t.Errorf("outcomes %+v, want one with %v and %d", o.outcomes, tt.code, tt.status)
			}
			if len(recycled) != 1 {
				t.Errorf("recycled %d times", len(recycled))
			}
		})
	}
}

func TestOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &seen{}
		s := serve(t, ServerOptions{Observers: []stream.Observer{o}}, func(s *stream.Stream) (*stream.Response, error) {
			if _, err := readAll(s.Request.Body); err != nil {
				return nil, err
			}
			time.Sleep(30 * time.Millisecond)
			return &stream.Response{Status: 201, Length: -1, Body: &pieces{parts: []string{"abc"}}}, nil
		})
		s.client.Write([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab"))
		time.Sleep(20 * time.Millisecond)
		s.client.Write([]byte("cd"))
		s.rest()
		want := stream.Outcome{Status: 201, BytesReceived: 4, BytesSent: 3, Duration: 50e6, RequestDuration: 20e6, ResponseDuration: 50e6}
		got := o.outcomes[0]
		got.Response = nil
		if got != want {
			t.Errorf("got %+v\nwant %+v", got, want)
		}
	})
}

func TestServerLimits(t *testing.T) {
	o := ServerOptions{MaxHeadBytes: 100, MaxHeaders: 3}
	tests := []struct {
		name, in string
		status   int
	}{
		{"at the limit", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: " + strings.Repeat("b", 100-51) + "\r\n\r\n", 200},
		{"one byte more", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nA: " + strings.Repeat("b", 100-50) + "\r\n\r\n", 431},
		{"without an end", "GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("b", 200), 431},
		{"fields", "GET / HTTP/1.1\r\nHost: x\r\nA:b\r\nC:d\r\nE:f\r\n\r\n", 431},
		{"trailers", "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: " + strings.Repeat("b", 100) + "\r\n\r\n", 431},
	}
	for _, tt := range tests {
		for _, short := range []int{0, 1} {
			t.Run(tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					got := serveShort(t, o, echo, short).ask(tt.in)
					if !strings.HasPrefix(got, "HTTP/1.1 "+strconv.Itoa(tt.status)) {
						t.Errorf("got %q, want %d", got, tt.status)
					}
				})
			})
		}
	}
}
