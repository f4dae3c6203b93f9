package behave

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/intercept"
)

// server is a workload's scripted server: HTTP/1.1, HTTP/2 without TLS and gRPC,
// each of them in TLS too, and an echo for all else, told from the first byte.
type server struct {
	name  string
	first string
	w     *world
	tls   *tls.Config
	http  *http.Server
	feed  *feed

	mu     sync.Mutex
	open   []net.Listener
	conns  map[net.Conn]bool
	script []outcome // guarded by mu: what the next requests get
	always *outcome  // guarded by mu: what every other one gets
}

// outcome is what a server does with a request.
type outcome struct {
	kind    string // ok, status, reset, close, hang, half, grpc
	code    int
	delay   time.Duration
	headers [][2]string
	body    string
}

// connKey finds the connection in a request's context.
type connKey struct{}

func newServer(w *world, name, first string, conf *tls.Config) *server {
	s := &server{name: name, first: first, w: w, tls: conf, conns: map[net.Conn]bool{}, feed: newFeed()}
	s.http = &http.Server{
		Handler: s, Protocols: new(http.Protocols), MaxHeaderBytes: 1 << 20, ReadHeaderTimeout: time.Minute,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ErrorLog:    nullLog,
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = s.http.Serve(s.feed) }() // ends with stop
	return s
}

// listen serves a port of an address in a namespace.
func (s *server) listen(ns *intercept.Namespace, at netip.AddrPort) error {
	l, err := ns.Listen(at)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.open = append(s.open, l)
	s.mu.Unlock()
	go func() { // ends when the listener closes
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.track(c, true)
			go s.serve(c)
		}
	}()
	return nil
}

func (s *server) track(c net.Conn, add bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if add {
		s.conns[c] = true
	} else {
		delete(s.conns, c)
	}
}

// down closes the listeners and resets the connections: who calls is refused.
func (s *server) down() {
	s.mu.Lock()
	open := s.open
	s.open = nil
	for c := range s.conns {
		reset(c)
	}
	s.mu.Unlock()
	for _, l := range open {
		l.Close()
	}
}

func (s *server) stop() {
	s.down()
	s.http.Close()
	s.feed.Close()
}

// bufConn is a connection of which some bytes were read already.
type bufConn struct {
	net.Conn
	r   *bufio.Reader
	tls *tls.ConnectionState
}

func (c *bufConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// serve tells the protocol of a connection.
func (s *server) serve(c net.Conn) {
	if s.first != "" {
		if _, err := io.WriteString(c, s.first); err != nil {
			c.Close()
			return
		}
	}
	s.dispatch(&bufConn{Conn: c, r: bufio.NewReader(c)}, c)
}

func (s *server) dispatch(b *bufConn, raw net.Conn) {
	p, err := b.r.Peek(1)
	switch {
	case err != nil:
		s.track(raw, false)
		b.Close()
	case p[0] == 0x16 && s.tls != nil && b.tls == nil:
		t := tls.Server(b, s.tls)
		if err := t.Handshake(); err != nil {
			s.track(raw, false)
			b.Close()
			return
		}
		state := t.ConnectionState()
		s.dispatch(&bufConn{Conn: t, r: bufio.NewReader(t), tls: &state}, raw)
	case p[0] >= 'A' && p[0] <= 'Z':
		s.feed.push(b)
	default:
		s.echo(b)
		s.track(raw, false)
	}
}

// echo answers each line with the workload's name and the line.
func (s *server) echo(c *bufConn) {
	defer c.Close()
	for {
		text, err := c.r.ReadString('\n')
		if text != "" {
			s.w.add(&record{Workload: s.name, Method: "TCP", Path: strings.TrimRight(text, "\n"), Conn: c.RemoteAddr().String(), Port: portOf(c.LocalAddr())})
			if _, err := io.WriteString(c, s.name+" "+text); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func portOf(a net.Addr) uint16 {
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return 0
	}
	return ap.Port()
}

// take gives what the next request gets.
func (s *server) take() outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.script) > 0 {
		o := s.script[0]
		s.script = s.script[1:]
		return o
	}
	if s.always != nil {
		return *s.always
	}
	return outcome{kind: "ok"}
}

func (s *server) set(script []outcome, always *outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script, s.always = script, always
}

// ServeHTTP answers with what it saw. The request's headers behave-status,
// behave-delay and behave-body (a size) choose the answer where no script does.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, _ := r.Context().Value(connKey{}).(*bufConn)
	rec := &record{Workload: s.name, Method: r.Method, Path: r.RequestURI, Host: r.Host, Proto: r.Proto, Headers: r.Header.Clone(), Conn: r.RemoteAddr}
	if c != nil {
		rec.Port = portOf(c.LocalAddr())
		if c.tls != nil {
			rec.TLS = c.tls.ServerName
			if len(c.tls.PeerCertificates) > 0 && len(c.tls.PeerCertificates[0].URIs) > 0 {
				rec.Peer = c.tls.PeerCertificates[0].URIs[0].String()
			}
		}
	}
	o := s.take()
	body, err := io.ReadAll(r.Body)
	rec.Size = len(body)
	if len(r.Trailer) > 0 {
		rec.Trailers = r.Trailer
	}
	s.w.add(rec)
	if err != nil {
		return
	}
	if d, err := time.ParseDuration(r.Header.Get("behave-delay")); err == nil && o.delay == 0 {
		o.delay = d
	}
	if o.delay > 0 {
		select {
		case <-time.After(o.delay):
		case <-r.Context().Done():
			return
		}
	}
	s.answer(w, r, rec, o, c, body)
}

func (s *server) answer(w http.ResponseWriter, r *http.Request, rec *record, o outcome, c *bufConn, body []byte) {
	h := w.Header()
	h.Set("x-from", s.name)
	for _, kv := range o.headers {
		h.Add(kv[0], kv[1])
	}
	switch o.kind {
	case "hang":
		<-r.Context().Done()
		return
	case "reset":
		if c != nil && r.ProtoMajor == 1 {
			reset(c.Conn)
		}
		panic(http.ErrAbortHandler)
	case "close":
		if c != nil {
			c.Close()
		}
		panic(http.ErrAbortHandler)
	case "half":
		h.Set("content-length", "1000")
		fmt.Fprint(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	if strings.HasPrefix(r.Header.Get("content-type"), "application/grpc") {
		s.answerGRPC(w, o, body)
		return
	}
	code := o.code
	if code == 0 {
		code, _ = strconv.Atoi(r.Header.Get("behave-status"))
	}
	if code == 0 {
		code = 200
	}
	text := []byte(o.body)
	if n, err := strconv.Atoi(r.Header.Get("behave-body")); err == nil {
		text = []byte(strings.Repeat("x", n))
	}
	if len(text) == 0 {
		text, _ = json.Marshal(rec)
		h.Set("content-type", "application/json")
	}
	if code != 204 && code != 304 {
		h.Set("content-length", strconv.Itoa(len(text)))
	}
	w.WriteHeader(code)
	if code != 204 && code != 304 {
		_, _ = w.Write(text) // who has gone away needs no answer
	}
}

// answerGRPC echoes the message, or refuses with a status.
func (s *server) answerGRPC(w http.ResponseWriter, o outcome, body []byte) {
	h := w.Header()
	h.Set("content-type", "application/grpc")
	if o.kind == "status" {
		w.WriteHeader(o.code)
		return
	}
	if o.kind == "grpc" && o.code != 0 {
		h.Set("grpc-status", strconv.Itoa(o.code)) // no message: a response of trailers alone
		h.Set("grpc-message", o.body)
		return
	}
	h.Set("trailer", "grpc-status")
	_, _ = w.Write(body)
	h.Set("grpc-status", "0")
}

// reset closes a connection with RST.
func reset(c net.Conn) {
	for {
		switch x := c.(type) {
		case *bufConn:
			c = x.Conn
			continue
		case *tls.Conn:
			c = x.NetConn()
			continue
		case *net.TCPConn:
			_ = x.SetLinger(0)
		}
		c.Close()
		return
	}
}

// feed hands connections to an http.Server.
type feed struct {
	ch   chan net.Conn
	done chan struct{}
	once sync.Once
}

func newFeed() *feed { return &feed{ch: make(chan net.Conn), done: make(chan struct{})} }

func (f *feed) push(c net.Conn) {
	select {
	case f.ch <- c:
	case <-f.done:
		c.Close()
	}
}

// Accept implements net.Listener.
func (f *feed) Accept() (net.Conn, error) {
	select {
	case c := <-f.ch:
		return c, nil
	case <-f.done:
		return nil, errors.New("closed")
	}
}

// Close implements net.Listener.
func (f *feed) Close() error {
	f.once.Do(func() { close(f.done) })
	return nil
}

// Addr implements net.Listener.
func (f *feed) Addr() net.Addr { return &net.TCPAddr{} }
