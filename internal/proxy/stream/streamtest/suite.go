// Package streamtest holds what every codec must do alike: one suite that runs
// over http1 on memory and on sockets, and over a multiplexed codec in memory that
// stands for HTTP/2, so that the contract of package stream serves both.
package streamtest

import (
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Codec is a codec under test.
type Codec struct {
	// Connect makes a connected pair. The server allows the upgrade "websocket" and
	// tells the observers.
	Connect func(t testing.TB, observers ...stream.Observer) (stream.ClientConn, stream.ServerConn)
	// Streams is how many exchanges a connection carries at once.
	Streams int
}

// Run runs the suite.
func Run(t *testing.T, c Codec) {
	for _, tt := range []struct {
		name string
		f    func(*testing.T, Codec)
	}{
		{"Exchange", testExchange},
		{"Trailers", testTrailers},
		{"Interim", testInterim},
		{"Many", testMany},
		{"BothWaysAtOnce", testBothWays},
		{"BackPressure", testBackPressure},
		{"EarlyResponse", testEarlyResponse},
		{"Cancel", testCancel},
		{"ServerReset", testServerReset},
		{"ResetAnswers", testResetAnswers},
		{"CutResponse", testCutResponse},
		{"ClientCloses", testClientCloses},
		{"Delivery", testDelivery},
		{"DrainServer", testDrainServer},
		{"DrainClient", testDrainClient},
		{"Tunnel", testTunnel},
		{"Outcome", testOutcome},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.f(t, c) })
	}
}

// limit is how long anything may take.
const limit = 10 * time.Second

// link is a served connection.
type link struct {
	t      *testing.T
	client stream.ClientConn
	server stream.ServerConn
	ended  chan stream.Reason
	seen   *outcomes
}

func connect(t *testing.T, c Codec, h stream.HandlerFunc) *link {
	t.Helper()
	l := &link{t: t, ended: make(chan stream.Reason, 1), seen: &outcomes{}}
	l.client, l.server = c.Connect(t, l.seen)
	go func() { l.ended <- l.server.Serve(h) }()
	t.Cleanup(func() {
		l.client.Close(stream.Reason{Code: stream.Draining})
		l.wait()
	})
	return l
}

// wait returns Serve's reason.
func (l *link) wait() stream.Reason {
	l.t.Helper()
	r := within(l.t, l.ended)
	l.ended <- r
	return r
}

func within[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(limit):
		t.Fatal("timed out")
		panic("unreachable")
	}
}

func (l *link) open() stream.Exchange {
	l.t.Helper()
	x, err := l.client.Open(&stream.Stream{})
	if err != nil {
		l.t.Fatalf("Open: %v", err)
	}
	return x
}

// outcomes records what the server's observer was told.
type outcomes struct {
	mu  sync.Mutex
	all []stream.Outcome
}

func (o *outcomes) Done(_ *stream.Stream, out *stream.Outcome) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, *out)
}

// one waits for the only outcome.
func (o *outcomes) one(t *testing.T) stream.Outcome {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Millisecond) {
		o.mu.Lock()
		n := len(o.all)
		o.mu.Unlock()
		if n > 0 {
			break
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.all) != 1 {
		t.Fatalf("%d outcomes", len(o.all))
	}
	return o.all[0]
}

func request(method string, length int64) *stream.Request {
	r := &stream.Request{Method: []byte(method), Scheme: []byte("http"), Authority: []byte("test.example"), Path: []byte("/path?query"), Length: length}
	r.AddString(stream.N("x-test"), "1")
	return r
}

func readAll(b stream.Body) ([]byte, error) {
	var all []byte
	for {
		p, err := b.Next()
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, p...)
	}
}

// echo returns the request's body and trailers as they come.
func echo(s *stream.Stream) (*stream.Response, error) {
	r := &stream.Response{Status: 200, Length: s.Request.Length, Body: s.Request.Body}
	r.AddString(stream.N("x-path"), string(s.Request.Path))
	r.AddString(stream.N("x-authority"), string(s.Request.Authority))
	r.AddString(stream.N("x-method"), string(s.Request.Method))
	r.AddString(stream.N("x-got"), string(s.Request.Get(stream.N("x-test"))))
	return r, nil
}

func answer(status int, body string) *stream.Response {
	return &stream.Response{Status: status, Body: stream.NewBody([]byte(body)), Length: int64(len(body))}
}

func reasonOf(err error) stream.Code {
	var r stream.Reason
	if errors.As(err, &r) {
		return r.Code
	}
	return stream.Internal
}

// clientLeft is what a server calls a client that gave an exchange up: the connection
// ended, or with streams one was reset.
func clientLeft(c stream.Code) bool {
	return c == stream.DownstreamGone || c == stream.DownstreamReset
}

// serverCut is the same of a server, to a client.
func serverCut(c stream.Code) bool {
	return c == stream.UpstreamReset || c == stream.UpstreamRemoteReset
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
