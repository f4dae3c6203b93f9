package router

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// serverOf puts the HTTP/1.1 codec in front of the router: what a client's bytes
// meet. The reason why the connection ended comes on the channel.
func serverOf(w *world, route *config.Route, log *[]stream.Outcome) (client *pipe.End, ended chan stream.Reason) {
	client, server := pipe.New()
	c := http1.NewServerConn(server, &stream.Conn{}, http1.ServerOptions{
		Upgrades: []string{"websocket"}, Observers: []stream.Observer{recorder{log}}})
	ended = make(chan stream.Reason, 1)
	go func() {
		ended <- c.Serve(stream.HandlerFunc(func(s *stream.Stream) (*stream.Response, error) {
			s.Route = route
			return w.filter.Handle(s, stream.Next{})
		}))
		server.Close()
	}()
	return client, ended
}

type recorder struct{ log *[]stream.Outcome }

// Done reads what observers read: the connection upstream serves others by then.
func (r recorder) Done(s *stream.Stream, o *stream.Outcome) {
	c := *o
	if o.Response != nil {
		h := &stream.Head{}
		h.CopyFrom(&o.Response.Head)
		c.Response = &stream.Response{Head: *h, Status: o.Response.Status}
	}
	*r.log = append(*r.log, c)
}

// TestBothCodecs sends pipelined requests of all kinds through codec, router, pool
// and codec.
func TestBothCodecs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(func(p *peer) {
			for {
				req, body, err := p.request()
				if err != nil {
					return
				}
				switch req.URL.Path {
				case "/chunked":
					io.WriteString(p, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Case: Kept\r\n\r\n3\r\nabc\r\n0\r\nx-trailer: t\r\n\r\n")
				case "/head":
					io.WriteString(p, "HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n")
				case "/none":
					io.WriteString(p, "HTTP/1.1 204 No Content\r\n\r\n")
				default:
					p.answer(200, body)
				}
			}
		}))
		defer w.close()
		var log []stream.Outcome
		client, ended := serverOf(w, w.route(nil), &log)
		const host = " HTTP/1.1\r\nHost: example.com\r\n"
		io.WriteString(client, "GET /chunked"+host+"\r\nHEAD /head"+host+"\r\nGET /none"+host+"\r\n"+
			"POST /echo"+host+"Content-Length: 5\r\n\r\nhello"+
			"POST /echo"+host+"Transfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n0\r\n\r\n")
		r := bufio.NewReader(client)
		for _, want := range []struct {
			method string
			status int
			body   string
		}{{"GET", 200, "abc"}, {"HEAD", 200, ""}, {"GET", 204, ""}, {"POST", 200, "hello"}, {"POST", 200, "more"}} {
			resp, err := http.ReadResponse(r, &http.Request{Method: want.method})
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != want.status || string(body) != want.body || err != nil {
				t.Errorf("%d %q %v, want %+v", resp.StatusCode, body, err, want)
			}
			if want.body == "abc" && resp.Trailer.Get("x-trailer") != "t" {
				t.Errorf("trailers %v", resp.Trailer)
			}
			if want.method == "HEAD" && resp.ContentLength != 99 {
				t.Errorf("length %d", resp.ContentLength)
			}
		}
		client.Close()
		<-ended
		if w.dials != 1 {
			t.Errorf("%d connections upstream", w.dials)
		}
		if len(log) != 5 || string(log[0].Response.Get(stream.N("x-case"))) != "Kept" {
			t.Errorf("%d exchanges were observed", len(log))
		}
	})
}

// TestClientLeaves: a client that goes while it waits cancels the request upstream.
func TestClientLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan error, 1)
		w := newWorld(t, Options{}, serving(func(p *peer) {
			p.request()
			_, err := p.r.ReadByte()
			gone <- err
		}))
		defer w.close()
		var log []stream.Outcome
		client, ended := serverOf(w, w.route(nil), &log)
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
		time.Sleep(time.Second)
		client.Close()
		if err := <-gone; err == nil {
			t.Error("the endpoint was not told")
		}
		if r := <-ended; r.Code != stream.DownstreamGone {
			t.Errorf("ended with %v", r)
		}
		if len(log) != 1 || log[0].Reason.Code != stream.DownstreamGone {
			t.Errorf("observed %+v", log)
		}
		if n := w.m.Handle("c").Stats().CxActive.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}

func TestWebsocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, Options{}, serving(func(p *peer) {
			req, _, _ := p.request()
			if !strings.EqualFold(req.Header.Get("upgrade"), "websocket") {
				p.answer(400, "")
				return
			}
			io.WriteString(p, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nearly ")
			io.Copy(p, p.r)
		}))
		defer w.close()
		var log []stream.Outcome
		client, ended := serverOf(w, w.route(nil), &log)
		io.WriteString(client, "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst ")
		r := bufio.NewReader(client)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("%+v, %v", resp, err)
		}
		io.WriteString(client, "second")
		client.CloseWrite()
		if got, err := io.ReadAll(r); string(got) != "early first second" || err != nil {
			t.Errorf("got %q, %v", got, err)
		}
		<-ended
		if n := w.m.Handle("c").Stats().CxActive.Load(); n != 0 {
			t.Errorf("%d connections are left", n)
		}
	})
}
