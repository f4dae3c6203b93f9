package http1

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// served is a server over a pipe, and the client's end of it.
type served struct {
	t      testing.TB
	client *pipe.End
	conn   *ServerConn
	done   chan stream.Reason
}

func serve(t testing.TB, o ServerOptions, h stream.HandlerFunc) *served {
	t.Helper()
	client, server := pipe.New()
	s := &served{t: t, client: client, done: make(chan stream.Reason, 1)}
	s.conn = NewServerConn(server, &stream.Conn{Remote: server.RemoteAddr()}, o)
	go func() { s.done <- s.conn.Serve(h) }()
	t.Cleanup(func() {
		client.Close()
		<-s.done
	})
	return s
}

// ask writes raw bytes and returns everything that the server answers until it
// closes.
func (s *served) ask(raw string) string {
	s.t.Helper()
	if _, err := s.client.Write([]byte(raw)); err != nil {
		s.t.Fatalf("write: %v", err)
	}
	return s.rest()
}

func (s *served) rest() string {
	s.t.Helper()
	if err := s.client.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		s.t.Fatal(err)
	}
	b, err := io.ReadAll(s.client)
	if err != nil {
		s.t.Errorf("read: %v (after %q)", err, b)
	}
	s.wait()
	return string(b)
}

func (s *served) wait() stream.Reason {
	s.t.Helper()
	select {
	case r := <-s.done:
		s.done <- r
		return r
	case <-time.After(5 * time.Second):
		s.t.Fatal("Serve did not return")
		return stream.Reason{}
	}
}

// until reads up to and including the marker.
func until(t testing.TB, r io.Reader, marker string) string {
	t.Helper()
	var got []byte
	b := make([]byte, 1)
	for !bytes.HasSuffix(got, []byte(marker)) {
		if _, err := r.Read(b); err != nil {
			t.Fatalf("waiting for %q: %v after %q", marker, err, got)
		}
		got = append(got, b[0])
	}
	return string(got)
}

// echo answers with what it read: request line, fields, body, trailers.
func echo(s *stream.Stream) (*stream.Response, error) {
	var b strings.Builder
	r := &s.Request
	fmt.Fprintf(&b, "%s %s%s%s\n", r.Method, r.Scheme, "://"+string(r.Authority), r.Path)
	for n, v := range r.All() {
		fmt.Fprintf(&b, "%s=%s\n", n, v)
	}
	if r.Body != nil {
		body, err := readAll(r.Body)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "[%s]\n", body)
		if t := r.Body.Trailers(); t != nil {
			for n, v := range t.All() {
				fmt.Fprintf(&b, "trailer %s=%s\n", n, v)
			}
		}
	}
	return text(200, b.String()), nil
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

func text(status int, body string) *stream.Response {
	return &stream.Response{Status: status, Body: stream.NewBody([]byte(body)), Length: int64(len(body))}
}

// pastSoon lets what is buffered be read, and nothing be waited for.
func pastSoon() time.Time { return time.Now().Add(time.Millisecond) }
