package http1

import (
	"errors"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

var errReceived = errors.New("the final response was received already")

// Receive implements stream.Exchange.
func (x *exchange) Receive() (*stream.Response, error) {
	c := x.c
	if x.final {
		return nil, errReceived
	}
	raw, err := x.readHead()
	if err != nil {
		return nil, c.fail(err)
	}
	r := &c.resp
	r.Body, r.Length, r.Tunnel, r.Local = nil, 0, nil, nil
	if err := parseResponse(r, raw, c.o.MaxHeaders, &c.f); err != nil {
		return nil, c.fail(err)
	}
	if r.Status < 200 && r.Status != 101 {
		r.Del(stream.ContentLength) // says nothing here (RFC 9110 §8.6), but some would believe it
		return r, nil
	}
	x.final = true
	x.keep = c.f.keep(r.Proto)
	return r, x.frame(r)
}

// version is how every response begins.
const version = "HTTP/"

func (x *exchange) readHead() ([]byte, error) {
	c := x.c
	scanned := 0
	for {
		raw, err := c.src.head(c.o.MaxHeadBytes, &scanned)
		if raw != nil || err != nil {
			return raw, err
		}
		if p := c.src.buffered(); string(p[:min(len(p), len(version))]) != version[:min(len(p), len(version))] {
			return nil, errStatusLine // another protocol, whose head may never end
		}
		if err := c.src.more(); err != nil {
			return nil, err
		}
	}
}

// frame finds how the response's body is delimited (RFC 9112 §6.3).
func (x *exchange) frame(r *stream.Response) error {
	c := x.c
	f := &c.f
	switch {
	case r.Status == 101 && x.upgrade == "":
		return c.fail(errUpgrade)
	case r.Status == 101, x.connect && r.Status < 300:
		x.keep = false
		if err := x.openedWebSocket(r); err != nil {
			return c.fail(err)
		}
		r.Tunnel = duplex{&c.src}
		r.Length = 0
	case x.head || r.Status == 304:
		r.Length = max(0, f.length)
	case r.Status == 204:
	case f.chunked:
		c.body.start(chunkedBody, 0)
		r.Body, r.Length = &c.body, -1
	case f.length > 0:
		c.body.start(lengthBody, f.length)
		r.Body, r.Length = &c.body, f.length
	case f.length < 0:
		x.keep = false
		c.body.start(closeBody, 0)
		r.Body, r.Length = &c.body, -1
	}
	return nil
}

// beforeRead implements bodyOwner.
func (x *exchange) beforeRead() error { return nil }

// progress implements bodyOwner.
func (x *exchange) progress() {}

// readError implements bodyOwner.
func (x *exchange) readError(err error) error { return x.c.fail(err) }

// giveUp implements bodyOwner: a response whose body is given up while it is read
// ends its connection.
func (x *exchange) giveUp() {
	x.c.mu.Lock()
	x.c.spent = true
	x.c.mu.Unlock()
	// It fails only on a closed transport, whose reader is awake already.
	_ = x.c.t.SetReadDeadline(rawio.Past)
}
