package hcm

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// greeting is what an HTTP/2 client begins with: preface and empty SETTINGS.
const greeting = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"

const plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func okay(*stream.Stream) (*stream.Response, error) { return &stream.Response{Status: 200}, nil }

// TestCodec: which protocol is spoken on a connection. An HTTP/2 server begins with
// SETTINGS, one of HTTP/1.1 with a status line.
func TestCodec(t *testing.T) {
	const two, one, refused = "\x00\x00", "HTTP/1.1 200 ", "HTTP/1.1 505 "
	for name, c := range map[string]struct {
		codec config.Codec
		alpn  string
		send  string
		want  string
	}{
		"auto, prior knowledge":    {config.CodecAuto, "", greeting, two},
		"auto, HTTP/1.1":           {config.CodecAuto, "", plain, one},
		"auto, begins alike":       {config.CodecAuto, "", "PRIME" + plain[3:], one},
		"auto, half a preface":     {config.CodecAuto, "", "PRI * HTTP/2.0\r\n\r\nGET", refused},
		"auto, after a line":       {config.CodecAuto, "", "\r\n" + greeting, refused},
		"ALPN h2":                  {config.CodecAuto, "h2", greeting, two},
		"ALPN istio-h2":            {config.CodecAuto, "istio-h2", greeting, two},
		"ALPN http/1.1":            {config.CodecAuto, "istio-http/1.1", plain, one},
		"ALPN http/1.1, preface":   {config.CodecAuto, "http/1.1", greeting, refused},
		"ALPN of neither":          {config.CodecAuto, "istio", greeting, two},
		"ALPN of neither, 1.1":     {config.CodecAuto, "istio", plain, one},
		"HTTP1, preface":           {config.CodecHTTP1, "", greeting, refused},
		"HTTP2":                    {config.CodecHTTP2, "", greeting, two},
		"HTTP1, whatever was said": {config.CodecHTTP1, "h2", plain, one},
	} {
		for pieces, size := range map[string]int{"at once": 1000, "byte by byte": 1} {
			t.Run(name+"/"+pieces, func(t *testing.T) {
				info := conn(nil)
				if c.alpn != "" {
					info.TLS = &stream.TLS{ALPN: c.alpn}
				}
				if got := first(t, config.HTTP{Codec: c.codec}, info, c.send, size); !strings.HasPrefix(got, c.want) {
					t.Errorf("%q, want %q", got, c.want)
				}
			})
		}
	}
}

// first gives the first bytes that a server sends.
func first(t *testing.T, cfg config.HTTP, info *stream.Conn, send string, size int) string {
	t.Helper()
	m, err := New(withEndpoint(cfg, okay), Options{})
	if err != nil {
		t.Fatal(err)
	}
	client, server := pipe.New()
	done := make(chan struct{})
	go func() { m.NewConn(server, info).Serve(); close(done) }()
	defer func() { client.Close(); <-done }()
	go func() {
		for b := []byte(send); len(b) > 0; {
			n := min(size, len(b))
			if _, err := client.Write(b[:n]); err != nil {
				return // the server has answered, and closed
			}
			b = b[n:]
		}
	}()
	got := make([]byte, 16)
	n, err := io.ReadAtLeast(client, got, 13)
	if err != nil {
		t.Fatalf("%q, %v", got[:n], err)
	}
	return string(got[:n])
}

// TestDrainBeforeTheProtocolIsKnown: what is asked of a connection while it is not
// known yet to be HTTP/2 holds afterwards.
func TestDrainBeforeTheProtocolIsKnown(t *testing.T) {
	const goAway = "\x00\x00\x08\x07\x00\x00\x00\x00\x00"
	for name, c := range map[string]struct {
		ask    func(*Conn)
		notice bool // the first of two steps is made
		after  time.Duration
	}{
		"drain":    {(*Conn).Drain, true, 5 * time.Second},
		"age":      {func(*Conn) {}, true, 2*time.Second + 5*time.Second},
		"end idle": {func(c *Conn) { c.Drain(); c.EndIdle() }, false, 0},
		"close":    {func(c *Conn) { c.Close(stream.Reason{Code: stream.Draining}) }, false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, err := New(withEndpoint(config.HTTP{DrainTimeout: 5 * time.Second, MaxConnDuration: 2 * time.Second}, okay), Options{})
				if err != nil {
					t.Fatal(err)
				}
				client, server := pipe.New()
				served := m.NewConn(server, conn(nil))
				done := make(chan stream.Reason, 1)
				go func() { done <- served.Serve() }()
				_, _ = client.Write([]byte(greeting[:7]))
				synctest.Wait()
				begun := time.Now()
				c.ask(served)
				_, _ = client.Write([]byte(greeting[7:])) // what was closed takes no more
				got, err := io.ReadAll(client)
				if err != nil && name != "close" {
					t.Error(err)
				}
				took := time.Since(begun)
				client.Close()
				if r := <-done; r.Code != stream.Draining {
					t.Errorf("ended by %v", r)
				}
				if two := bytes.Contains(got, []byte(goAway+"\x7f\xff\xff\xff")); two != c.notice || took != c.after {
					t.Errorf("notice %v after %v: %q", two, took, got)
				}
				if name != "close" && !bytes.Contains(got, []byte(goAway+"\x00\x00\x00\x00")) {
					t.Errorf("no last stream: %q", got)
				}
			})
		})
	}
}

// TestGRPCReplies: answers of the proxy to gRPC calls are heads alone, with the
// status that gRPC has for the reason.
func TestGRPCReplies(t *testing.T) {
	reply := func(status int, code stream.Code, headers ...[2]string) *stream.Reply {
		r := stream.NewReply(status, stream.Reason{Code: code, Detail: "x"})
		r.Headers = headers
		return r
	}
	for name, c := range map[string]struct {
		reply         *stream.Reply
		status, about string
	}{
		"overload":     {reply(0, stream.UpstreamOverflow), "14", "upstream connect error or disconnect/reset before headers. reset reason: overflow"},
		"no route":     {reply(0, stream.NoRoute), "12", ""},
		"denied":       {reply(0, stream.PolicyDenied), "7", "RBAC: access denied"},
		"no identity":  {reply(401, stream.PolicyDenied), "16", "RBAC: access denied"},
		"bad request":  {reply(400, stream.DownstreamProtocol), "13", ""},
		"too many":     {reply(429, stream.Overload), "14", "envoy overloaded"},
		"other":        {reply(418, stream.None), "2", ""},
		"deadline":     {reply(0, stream.MaxDuration), "4", "upstream max stream duration reached"},
		"its own":      {reply(200, stream.FaultAbort, [2]string{"grpc-status", "8"}), "8", "fault filter abort"},
		"percent text": {&stream.Reply{Status: 503, Body: "1%\n\xc3\xa4~"}, "14", "1%25%0A%C3%A4~"},
	} {
		t.Run(name, func(t *testing.T) {
			noted := make(chan int, 1)
			observe := observer(func(s *stream.Stream, _ *stream.Outcome) { noted <- s.GRPC.Status })
			resp := exchange(t, withEndpoint(config.HTTP{}, func(*stream.Stream) (*stream.Response, error) { return nil, c.reply }),
				Options{Observers: []stream.Observer{observe}}, conn(nil), "POST / HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc+proto\r\n\r\n")
			h := resp.Header
			if resp.StatusCode != 200 || resp.ContentLength != 0 || h.Get("Content-Type") != "application/grpc" || h.Get("Grpc-Status") != c.status || h.Get("Grpc-Message") != c.about {
				t.Errorf("%d, %d bytes, %v", resp.StatusCode, resp.ContentLength, h)
			}
			if n := <-noted; fmt.Sprint(n) != c.status {
				t.Errorf("logs see %d", n)
			}
		})
	}
}

type observer func(*stream.Stream, *stream.Outcome)

func (f observer) Done(s *stream.Stream, o *stream.Outcome) { f(s, o) }

// TestConnectHasToBeAllowed: CONNECT is an upgrade of that name, as Envoy has it.
func TestConnectHasToBeAllowed(t *testing.T) {
	table := func(own []string) *config.RouteTable {
		return &config.RouteTable{Hosts: []*config.VirtualHost{{Domains: []string{"*"}, Routes: []*config.Route{{
			Match: config.RouteMatch{PathKind: config.PathConnect}, Forward: &config.Forward{Upgrades: own},
		}}}}}
	}
	for name, c := range map[string]struct {
		allowed, own []string
		want         int
	}{
		"no": {nil, nil, 403}, "another": {[]string{"websocket"}, nil, 403}, "yes": {[]string{"connect"}, nil, 200},
		"by the route": {nil, []string{"connect"}, 200},
	} {
		resp := exchange(t, withEndpoint(config.HTTP{Inline: table(c.own), Upgrades: c.allowed}, okay), Options{}, conn(nil), "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n")
		if resp.StatusCode != c.want {
			t.Errorf("%s: %d, want %d", name, resp.StatusCode, c.want)
		}
	}
}
