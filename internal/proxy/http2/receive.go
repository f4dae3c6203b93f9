package http2

import (
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// head implements side.
func (c *ClientConn) head(st *strm, id uint32, end bool, block []byte) error {
	if st == nil {
		if err := c.dec.Decode(block, discard{}); err != nil {
			return fatal(codeCompression, err.Error())
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.late(&frame{typ: frameHeaders, id: id})
	}
	c.mu.Lock()
	final := c.streams[id] == st && st.client.final // the order matters: st may serve others
	c.mu.Unlock()
	if final {
		return c.trailers(st, id, end, block)
	}
	c.budget.give(1)
	p := &c.parser
	p.start(headResponse, nil)
	if err := p.decode(&c.dec, block); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.streams[id] != st {
		return nil // it was given up meanwhile
	}
	switch {
	case p.fault != "":
		return &streamError{id, codeProtocol, p.fault}
	case p.tooLarge:
		return &streamError{id, codeCancel, "head too large"}
	case p.status == 0:
		return &streamError{id, codeProtocol, "no :status"}
	case p.status == 101:
		return &streamError{id, codeProtocol, "status 101 in HTTP/2"}
	case p.status < 200:
		return st.client.informed(p, end)
	}
	return st.client.respond(p, end)
}

// informed takes in an informational head. mu is held.
func (x *exchange) informed(p *headParser, end bool) error {
	if end {
		return &streamError{x.id, codeProtocol, "informational response that ends the stream"}
	}
	if len(x.interim) >= maxInterim {
		return &streamError{x.id, codeEnhanceYourCalm, "too many informational responses"}
	}
	r := &stream.Response{Status: p.status, Proto: stream.HTTP2}
	r.CopyFrom(p.h)
	x.interim = append(x.interim, r)
	x.rcond.Signal()
	return nil
}

// respond takes in the final head, swapping it for the parser's. mu is held.
func (x *exchange) respond(p *headParser, end bool) error {
	r := &x.resp
	r.Head, p.own = p.own, r.Head
	r.Proto, r.Status, r.Length = stream.HTTP2, p.status, 0
	r.Body, r.Tunnel, r.Local = nil, nil, nil
	bodyless := x.isHead || r.Status == 204 || r.Status == 304
	switch {
	case x.tunnels && r.Status < 300:
		if x.upgrade {
			r.Status = 101 // as HTTP/1.1 says it
		}
		r.Tunnel = &tunnel{st: &x.strm}
	case bodyless:
		x.left, x.bodyless = 0, true
		r.Length = max(0, p.length)
	case end && p.length > 0:
		return &streamError{x.id, codeProtocol, "content shorter than its declared length"}
	case !end:
		x.left = p.length
		r.Body, r.Length = &x.strm, p.length
	}
	x.final = true
	x.rcond.Signal()
	if end {
		return x.end()
	}
	return nil
}
