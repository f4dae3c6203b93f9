package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/lateen-mesh/lateen/bench/mesh"
)

// The sizes of contents, in bytes.
const (
	smallBody = 1 << 10
	largeBody = 1 << 20
)

// patience is how long well-behaved traffic waits for anything: far longer than a
// loaded machine needs, so that its end means that something hangs.
const patience = 30 * time.Second

// pattern is content of n bytes that only this mark has.
func pattern(mark string, n int) []byte {
	line := []byte("<" + mark + ">")
	return bytes.Repeat(line, n/len(line)+1)[:n]
}

// steady is a well-behaved client of all protocols.
type steady struct {
	ports  ports
	ledger *ledger
	marks  atomic.Int64
	h2     *http2.Transport
	calls  *caller
	edge   *tls.Config
	// resumed counts the edge's handshakes that were, and full those that were not.
	resumed, full atomic.Int64

	mu   sync.Mutex
	idle []*keepAlive // guarded by mu; the one that rested longest first
}

func newSteady(p ports, a *authority, l *ledger) (*steady, error) {
	s := &steady{ports: p, ledger: l}
	s.h2 = &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, _, _ string, _ *tls.Config) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", p.http.String())
	}}
	s.edge = &tls.Config{RootCAs: a.pool(), ServerName: mesh.ServerName, ClientSessionCache: tls.NewLRUClientSessionCache(8), NextProtos: []string{"http/1.1"}}
	var err error
	s.calls, err = newCaller(p.http.String())
	return s, err
}

// close ends all connections.
func (s *steady) close() {
	s.h2.CloseIdleConnections()
	s.calls.close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.idle {
		k.conn.Close()
	}
	s.idle = nil
}

func (s *steady) mark() string { return strconv.FormatInt(s.marks.Add(1), 10) }

// keepAlive is a connection of HTTP/1.1 between requests.
type keepAlive struct {
	conn net.Conn
	in   *bufio.Reader
	uses int
}

func dialHTTP(to netip.AddrPort) (*keepAlive, error) {
	c, err := net.DialTimeout("tcp", to.String(), patience)
	if err != nil {
		return nil, err
	}
	return &keepAlive{conn: c, in: bufio.NewReader(c)}, nil
}

// take gives the connection that rested longest, so that all are used alike and
// hear of a drain in time.
func (s *steady) take() (*keepAlive, error) {
	s.mu.Lock()
	if len(s.idle) > 0 {
		k := s.idle[0]
		s.idle = s.idle[1:]
		s.mu.Unlock()
		return k, nil
	}
	s.mu.Unlock()
	return dialHTTP(s.ports.http)
}

func (s *steady) give(k *keepAlive) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = append(s.idle, k)
}

// message is a request and what its answer must be.
type message struct {
	method, host string
	size         int
	chunked      bool
}

// do makes one request on k; again says whether the connection may be used again.
func (k *keepAlive) do(msg message, mark string) (again bool, err error) {
	if err := k.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return false, err
	}
	content := pattern(mark, msg.size)
	if _, err := k.conn.Write(msg.bytes(content, mark)); err != nil {
		return false, fmt.Errorf("request %d of a connection: sending: %w", k.uses+1, err)
	}
	resp, err := http.ReadResponse(k.in, nil)
	if err != nil {
		return false, fmt.Errorf("request %d of a connection: %w", k.uses+1, err)
	}
	k.uses++
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return false, fmt.Errorf("content after %d bytes: %w", len(got), err)
	}
	return !resp.Close, check(resp, got, content, mark, msg.chunked)
}

// bytes is the request as it is sent, in one write.
func (msg message) bytes(content []byte, mark string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s /echo HTTP/1.1\r\nhost: %s\r\nx-soak-mark: %s\r\nuser-agent: soak\r\n", msg.method, msg.host, mark)
	switch {
	case msg.method == http.MethodGet:
		b.WriteString("\r\n")
	case msg.chunked:
		b.WriteString("transfer-encoding: chunked\r\ntrailer: x-soak-trailer\r\n\r\n")
		for len(content) > 0 {
			n := min(len(content), 700)
			fmt.Fprintf(&b, "%x\r\n%s\r\n", n, content[:n])
			content = content[n:]
		}
		fmt.Fprintf(&b, "0\r\nx-soak-trailer: %s\r\n\r\n", mark)
	default:
		fmt.Fprintf(&b, "content-length: %d\r\n\r\n%s", len(content), content)
	}
	return b.Bytes()
}

// check compares an answer with what it must be.
func check(resp *http.Response, got, want []byte, mark string, trailers bool) error {
	switch {
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("status %d, reason %q, %.200q", resp.StatusCode, resp.Header.Get("X-Lateen-Reason"), got)
	case resp.Header.Get("X-Soak-Mark") != mark:
		return fmt.Errorf("the answer of request %q to request %s", resp.Header.Get("X-Soak-Mark"), mark)
	case !bytes.Equal(got, want):
		return fmt.Errorf("content of %d bytes is not the %d that were meant", len(got), len(want))
	case trailers && resp.Trailer.Get("X-Soak-Trailer") != mark:
		return fmt.Errorf("trailers %v instead of %s", resp.Trailer, mark)
	}
	if resp.Header.Get("X-Soak-Header") == "" || resp.Header.Get("X-Soak-Saw") == "" {
		return fmt.Errorf("headers that routes add: answer %q, request %q", resp.Header.Get("X-Soak-Header"), resp.Header.Get("X-Soak-Saw"))
	}
	return nil
}

// http1 gives a request over kept connections.
func (s *steady) http1(msg message) func() error {
	return func() error {
		k, err := s.take()
		if err != nil {
			return err
		}
		again, err := k.do(msg, s.mark())
		if again && err == nil {
			s.give(k)
			return nil
		}
		k.conn.Close()
		return err
	}
}

// http2 gives a request over HTTP/2 to the proxy.
func (s *steady) http2(msg message) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		mark := s.mark()
		content := pattern(mark, msg.size)
		var body io.Reader
		if msg.method != http.MethodGet {
			body = bytes.NewReader(content)
			if msg.chunked {
				body = io.MultiReader(body) // of unknown length
			}
		}
		req, err := http.NewRequestWithContext(ctx, msg.method, "http://"+msg.host+"/echo", body)
		if err != nil {
			return err
		}
		req.Header.Set("X-Soak-Mark", mark)
		if msg.chunked {
			req.Trailer = http.Header{"X-Soak-Trailer": {mark}}
		}
		resp, err := s.h2.RoundTrip(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			return fmt.Errorf("content after %d bytes: %w", len(got), err)
		}
		return check(resp, got, content, mark, msg.chunked)
	}
}

// visit opens a TLS connection to the edge and makes some requests on it.
func (s *steady) visit() error {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.ports.edge.String(), s.edge)
	if err != nil {
		return fmt.Errorf("handshake: %w", err)
	}
	defer c.Close()
	if c.ConnectionState().DidResume {
		s.resumed.Add(1)
	} else {
		s.full.Add(1)
	}
	k := &keepAlive{conn: c, in: bufio.NewReader(c)}
	for range 4 {
		again, err := k.do(message{method: http.MethodGet, host: steadyHost, size: smallBody}, s.mark())
		if err != nil || !again {
			return err
		}
	}
	return nil
}
