// Package origin is the server behind the proxies: fast enough not to matter, and
// so simple that it always costs the same. One thread serves HTTP/1.1, HTTP/2
// without TLS, a gRPC-like HTTP/2 and an endless stream of bytes, each on its own
// address, with answers made beforehand.
//
// /echo answers with the head of the request as it came, so that a test of equal
// function sees what a proxy made of it; /1m answers 1 MiB; everything else 1 KiB.
package origin

import (
	"bytes"
	"fmt"
	"net/netip"

	"github.com/lateen-mesh/lateen/bench/poll"
)

// The sizes of the answers in bytes.
const (
	SmallBody = 1 << 10
	LargeBody = 1 << 20
)

// Addresses say where each protocol is served.
type Addresses struct {
	HTTP1, HTTP2, GRPC, Stream netip.AddrPort
}

// codec answers what has been received.
type codec interface {
	// receive takes what lies in in, appends answers with c.send, and returns how
	// many bytes it has used up.
	receive(c *conn, in []byte) (used int, err error)
}

// conn is a connection. Answers that did not fit into the socket wait in out.
type conn struct {
	fd      int
	codec   codec
	in      []byte   // received and not used up
	out     [][]byte // waits for room; the parts are never changed
	pending []byte   // small answers of this turn, written together
	watched bool     // for writing
}

func (c *conn) send(b []byte) { c.pending = append(c.pending, b...) }

// sendShared sends a large answer without copying it.
func (c *conn) sendShared(b []byte) {
	if len(c.pending) > 0 {
		c.out = append(c.out, bytes.Clone(c.pending))
		c.pending = c.pending[:0]
	}
	c.out = append(c.out, b)
}

type server struct {
	poller    *poll.Poller
	listeners map[int]func() codec
	conns     map[int]*conn
	buf       []byte
}

// Serve serves until an error of the host's.
func Serve(a Addresses) error {
	p, err := poll.New()
	if err != nil {
		return err
	}
	s := &server{poller: p, listeners: map[int]func() codec{}, conns: map[int]*conn{}, buf: make([]byte, 64<<10)}
	for _, l := range []struct {
		addr  netip.AddrPort
		codec func() codec
	}{
		{a.HTTP1, func() codec { return http1{} }},
		{a.HTTP2, func() codec { return newHTTP2(plainAnswer, 0) }},
		{a.GRPC, func() codec { return newHTTP2(grpcAnswer, grpcPrefix) }},
		{a.Stream, func() codec { return stream{} }},
	} {
		fd, err := poll.Listen(l.addr)
		if err != nil {
			return err
		}
		if err := p.Add(fd, false); err != nil {
			return err
		}
		s.listeners[fd] = l.codec
	}
	for {
		var failed error
		err := p.Wait(-1, func(e poll.Event) {
			if err := s.event(e); err != nil {
				failed = err
			}
		})
		if err != nil || failed != nil {
			return fmt.Errorf("origin: %w", firstOf(err, failed))
		}
	}
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (s *server) event(e poll.Event) error {
	if make := s.listeners[e.FD]; make != nil {
		return s.accept(e.FD, make)
	}
	c := s.conns[e.FD]
	if c == nil {
		return nil // closed by an event before
	}
	open := true
	if e.Read {
		open = s.read(c)
	}
	if open {
		open = s.flush(c)
	}
	if !open {
		delete(s.conns, c.fd)
		return poll.Close(c.fd)
	}
	return nil
}

func (s *server) accept(fd int, make func() codec) error {
	for {
		n, again, err := poll.Accept(fd)
		if again || err != nil {
			return err
		}
		c := &conn{fd: n, codec: make()}
		s.conns[n] = c
		if _, endless := c.codec.(stream); endless {
			c.watched = true
		}
		if err := s.poller.Add(n, c.watched); err != nil {
			return err
		}
	}
}

// read reads once and answers what is complete; false means that the connection
// is over.
func (s *server) read(c *conn) bool {
	n, again, err := poll.Read(c.fd, s.buf)
	if again {
		return true
	}
	if err != nil || n == 0 {
		return false
	}
	in := s.buf[:n]
	if len(c.in) > 0 {
		c.in = append(c.in, in...)
		in = c.in
	}
	used, err := c.codec.receive(c, in)
	if err != nil {
		return false
	}
	c.in = append(c.in[:0], in[used:]...)
	return true
}

// flush writes what waits; it watches for room where there is none.
func (s *server) flush(c *conn) bool {
	if _, endless := c.codec.(stream); endless {
		_, _, err := poll.Write(c.fd, endlessBytes)
		return err == nil
	}
	if len(c.out) == 0 && len(c.pending) > 0 {
		n, _, err := poll.Write(c.fd, c.pending)
		if err != nil {
			return false
		}
		if n == len(c.pending) {
			c.pending = c.pending[:0]
			return true
		}
		c.pending = append(c.pending[:0], c.pending[n:]...)
	}
	if len(c.pending) > 0 {
		c.out = append(c.out, bytes.Clone(c.pending))
		c.pending = c.pending[:0]
	}
	for len(c.out) > 0 {
		n, again, err := poll.Write(c.fd, c.out[0])
		if err != nil {
			return false
		}
		if c.out[0] = c.out[0][n:]; len(c.out[0]) == 0 {
			c.out = c.out[1:]
		}
		if again {
			break
		}
	}
	if write := len(c.out) > 0; write != c.watched {
		c.watched = write
		return s.poller.Change(c.fd, write) == nil
	}
	return true
}

// stream sends for ever.
type stream struct{}

var endlessBytes = make([]byte, 256<<10)

func (stream) receive(_ *conn, in []byte) (int, error) { return len(in), nil }
