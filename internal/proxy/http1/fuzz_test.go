package http1

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httputil"
	"testing"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// script is a transport that gives its bytes in pieces and forgets what it takes.
type script struct {
	rawio.Transport
	data []byte
	size int // of a piece; 0: all
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.data) == 0 {
		return 0, io.EOF
	}
	if s.size > 0 && len(p) > s.size {
		p = p[:s.size]
	}
	n := copy(p, s.data)
	s.data = s.data[n:]
	return n, nil
}

func (s *script) Write(p []byte) (int, error) { return len(p), nil }

// parsed is what the server side makes of a message.
type parsed struct {
	method, path, authority string
	status                  int // of responses
	fields, trailers        http.Header
	head, body              []byte
	rest                    []byte // what follows the message
	err                     error
}

func parse(data []byte, size int) (p parsed) {
	c := NewServerConn(&script{data: data, size: size}, &stream.Conn{}, ServerOptions{HTTP10: true})
	c.takeUp()
	raw, err := c.readHead()
	r := &c.stream.Request
	if err == nil {
		err = parseRequest(r, raw, c.o.MaxHeaders, &c.f)
	}
	if err == nil {
		err = c.admit(r)
	}
	if err != nil {
		return parsed{err: err}
	}
	p = parsed{method: string(r.Method), path: string(r.Path), authority: string(r.Authority), head: r.Head.AppendTo(nil), fields: fieldsOf(&r.Head)}
	if r.Body != nil {
		if p.body, p.err = readAll(&c.body); p.err != nil {
			return parsed{err: p.err}
		}
		p.trailers = fieldsOf(r.Body.Trailers())
	}
	p.rest = append(p.rest, c.src.buffered()...)
	p.rest = append(p.rest, c.t.(*script).data...)
	return p
}

// FuzzRequest: whatever the pieces in which a message arrives, it is read the same
// way; and what we take, net/http takes with the same method, body and end.
func FuzzRequest(f *testing.F) {
	for _, tt := range smuggling {
		f.Add([]byte(tt.in))
	}
	f.Add([]byte(benchHead))
	for _, m := range corpusMessages(f, "client") {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		whole := parse(data, 0)
		for _, size := range []int{1, 5} {
			part := parse(data, size)
			if (part.err == nil) != (whole.err == nil) || !bytes.Equal(part.body, whole.body) || !bytes.Equal(part.rest, whole.rest) || !bytes.Equal(part.head, whole.head) {
				t.Fatalf("in pieces of %d: %+v\nwhole: %+v", size, part, whole)
			}
		}
		if whole.err != nil {
			return
		}
		rewrite(t, data)
		compare(t, data, whole)
	})
}

// rewrite holds that what the client codec makes of a request reads as the same
// request.
func rewrite(t *testing.T, data []byte) {
	c := NewServerConn(&script{data: data}, &stream.Conn{}, ServerOptions{HTTP10: true})
	c.takeUp()
	raw, err := c.readHead()
	if err != nil {
		t.Fatal(err)
	}
	r := &c.stream.Request
	if err := parseRequest(r, raw, c.o.MaxHeaders, &c.f); err != nil {
		t.Fatal(err)
	}
	if err := c.admit(r); err != nil {
		t.Fatal(err)
	}
	up := NewClientConn(&script{}, ClientOptions{})
	up.x.plan(r, 0, r.Body == nil)
	up.x.writeHead(r)
	var again stream.Request
	var f framing
	if err := parseRequest(&again, up.out.b, c.o.MaxHeaders+3, &f); err != nil {
		t.Fatalf("what we write we refuse with %v: %q", err, up.out.b)
	}
	if string(again.Method) != string(r.Method) || string(again.Path) != string(r.Path) || string(again.Authority) != string(r.Authority) ||
		f.chunked != (r.Length < 0) || !f.chunked && max(0, f.length) != r.Length {
		t.Fatalf("%q reads differently from %q", up.out.b, data)
	}
}

// FuzzResponse: no piecewise difference and no panic; what we take, net/http takes
// with the same status and body.
func FuzzResponse(f *testing.F) {
	for _, s := range responses {
		f.Add([]byte(s.in))
	}
	for _, m := range corpusMessages(f, "server") {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		whole := receive(data, 0)
		part := receive(data, 1)
		if (whole.err == nil) != (part.err == nil) || whole.err == nil && (whole.status != part.status || !bytes.Equal(whole.body, part.body) || !bytes.Equal(whole.rest, part.rest)) {
			t.Fatalf("whole: %+v; bytewise: %+v", whole, part)
		}
		if whole.err == nil && whole.status >= 200 {
			compareResponse(t, data, whole)
		}
	})
}

// receive reads the first response.
func receive(data []byte, size int) (p parsed) {
	c := NewClientConn(&script{data: data, size: size}, ClientOptions{})
	if _, p.err = c.Open(nil); p.err != nil {
		return p
	}
	r, err := c.x.Receive()
	if err != nil {
		return parsed{err: err}
	}
	p.status, p.fields = r.Status, fieldsOf(&r.Head)
	if r.Body != nil {
		if p.body, p.err = readAll(r.Body); p.err != nil {
			return p
		}
		p.trailers = fieldsOf(r.Body.Trailers())
	}
	p.rest = append(p.rest, c.src.buffered()...)
	p.rest = append(p.rest, c.t.(*script).data...)
	return p
}

// FuzzChunked: the decoder gives the same in any pieces, its look-ahead tells the
// truth, and net/http's gives the same data.
func FuzzChunked(f *testing.F) {
	for _, s := range []string{"0\r\n\r\n", "3\r\nabc\r\n0\r\n\r\n", "a;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\n", "1\r\na\r\n1\r\nb\r\n0\r\n\r\nGET /", "ffffffffffffffff\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		whole, end, err := decodeChunked(data, len(data)+1)
		parts, end2, err2 := decodeChunked(data, 1)
		if !bytes.Equal(whole, parts) || end != end2 || (err == nil) != (err2 == nil) {
			t.Fatalf("whole: %q %d %v; bytewise: %q %d %v", whole, end, err, parts, end2, err2)
		}
		if err != nil || end < 0 {
			return
		}
		theirs, err := io.ReadAll(httputil.NewChunkedReader(bytes.NewReader(data)))
		if err != nil || !bytes.Equal(theirs, whole) {
			t.Fatalf("%q, net/http %q %v", whole, theirs, err)
		}
	})
}

// decodeChunked returns the data and where the body ends, -1 where it does not.
func decodeChunked(in []byte, piece int) (data []byte, end int, err error) {
	var c chunkReader
	for at := 0; at < len(in); {
		p := in[at:min(at+piece, len(in))]
		for len(p) > 0 {
			n, d, _, err := c.next(p, 1<<20)
			if err != nil {
				return data, -1, err
			}
			data = append(data, d...)
			p = p[n:]
			if at += n; c.state == chunkDone {
				return data, at, nil
			}
		}
	}
	return data, -1, nil
}
