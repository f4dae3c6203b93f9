package http2

import (
	"github.com/lateen-mesh/lateen/internal/proxy/http2/hpack"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// headKind is what a header block is.
type headKind uint8

const (
	headRequest headKind = iota
	headResponse
	headTrailers
)

// headParser takes in the fields of one block and checks them (RFC 9113 §8.2,
// §8.3). It decodes to the end whatever it finds: the tables depend on it.
type headParser struct {
	maxBytes, maxFields int

	kind     headKind
	r        *stream.Request // of headRequest
	h        *stream.Head    // r's, or own
	own      stream.Head
	fault    string // why the message is malformed; "" if it is not
	tooLarge bool
	bytes, n int
	fields   int  // all, those that are not taken in too
	regular  bool // a field that is no pseudo-header came
	pseudo   uint8
	status   int
	protocol []byte // :protocol
	host     []byte
	length   int64 // Content-Length; -1: none
	crumbs   int
	cookie   []byte
	expect   bool
}

const (
	hasMethod = 1 << iota
	hasScheme
	hasAuthority
	hasPath
	hasProtocol
	hasStatus
	hasHost
)

func (p *headParser) limits(l *Limits) { p.maxBytes, p.maxFields = l.MaxHeadBytes, l.MaxHeaders }

// start begins a block; r is the request that it fills, nil for other kinds.
func (p *headParser) start(kind headKind, r *stream.Request) {
	p.kind, p.r, p.h = kind, r, &p.own
	if r != nil {
		p.h = &r.Head
	}
	p.h.Reset()
	p.fault, p.tooLarge, p.bytes, p.n, p.fields, p.regular, p.pseudo, p.status = "", false, 0, 0, 0, false, 0, 0
	p.protocol, p.host, p.length, p.crumbs, p.cookie, p.expect = p.protocol[:0], p.host[:0], -1, 0, p.cookie[:0], false
}

// decode runs the block through the decoder.
func (p *headParser) decode(d *hpack.Decoder, block []byte) error {
	if err := d.Decode(block, p); err != nil {
		return fatal(codeCompression, err.Error())
	}
	if p.bytes > bombFactor*p.maxBytes || p.fields > bombFactor*p.maxFields {
		return fatal(codeEnhanceYourCalm, "a head far beyond the limits")
	}
	if p.crumbs > 1 {
		p.h.Set(stream.Cookie, p.cookie)
	}
	return nil
}

// bombFactor is how far beyond the limits of a head a block may decode. What is
// beyond costs its sender a byte for each field of any size, and us much more: that
// ends the connection, where an oversized head only ends its stream.
const bombFactor = 8

func (p *headParser) bad(why string) {
	if p.fault == "" {
		p.fault = why
	}
}

// Field implements hpack.Sink.
func (p *headParser) Field(name, value []byte) {
	p.bytes += len(name) + len(value) + 32
	p.fields++
	if p.bytes > p.maxBytes {
		p.tooLarge = true
	}
	if p.tooLarge || p.fault != "" {
		return
	}
	if len(name) > 0 && name[0] == ':' {
		p.pseudoField(name, value)
		return
	}
	p.regular = true
	if p.n++; p.n > p.maxFields {
		p.tooLarge = true
		return
	}
	for _, c := range name {
		if !nameChar[c] {
			p.bad("invalid header field name")
			return
		}
	}
	if len(name) == 0 || !validValue(value) {
		p.bad("invalid header field")
		return
	}
	if k := stream.KnownName(name); k.ID() == 0 || p.known(k, value) {
		p.h.AddRaw(name, value)
	}
}

// known takes in a field that may mean something here, and reports whether it stays
// in the head.
func (p *headParser) known(k stream.Name, value []byte) bool {
	switch k {
	case stream.Connection, stream.KeepAlive, stream.ProxyConnection, stream.TransferEncoding, stream.Upgrade:
		p.bad("connection-specific header field")
		return false
	case stream.TE:
		if string(value) != "trailers" {
			p.bad("TE with another value than trailers")
			return false
		}
	case stream.ContentLength:
		return p.contentLength(value)
	case stream.Host:
		if p.kind != headRequest {
			return p.kind != headTrailers
		}
		if p.pseudo&hasHost != 0 {
			p.bad("more than one Host field")
		}
		p.pseudo |= hasHost
		p.host = append(p.host, value...)
		return false
	case stream.Cookie:
		if p.kind == headTrailers {
			return true
		}
		if p.crumbs++; p.crumbs > 1 {
			p.cookie = append(p.cookie, "; "...)
		}
		p.cookie = append(p.cookie, value...)
		return p.crumbs == 1
	case stream.Expect:
		p.expect = p.expect || stream.EqualFold(value, "100-continue")
	}
	return true
}

func (p *headParser) contentLength(value []byte) bool {
	n := parseLength(value)
	switch {
	case p.kind == headTrailers:
		p.bad("Content-Length in trailers")
	case n < 0:
		p.bad("invalid Content-Length")
	case p.length >= 0:
		p.bad("more than one Content-Length")
	default:
		p.length = n
		return true
	}
	return false
}

// pseudoField takes in a field whose name begins with a colon.
func (p *headParser) pseudoField(name, value []byte) {
	var bit uint8
	switch string(name) {
	case ":method":
		bit = hasMethod
	case ":scheme":
		bit = hasScheme
	case ":authority":
		bit = hasAuthority
	case ":path":
		bit = hasPath
	case ":protocol":
		bit = hasProtocol
	case ":status":
		bit = hasStatus
	}
	switch {
	case p.regular:
		p.bad("pseudo-header after a header field")
		return
	case bit == 0 || p.kind == headTrailers || (bit == hasStatus) != (p.kind == headResponse):
		p.bad("invalid pseudo-header")
		return
	case p.pseudo&bit != 0:
		p.bad("pseudo-header twice")
		return
	case !validValue(value):
		p.bad("invalid character in a pseudo-header")
		return
	}
	p.pseudo |= bit
	switch bit {
	case hasMethod:
		p.r.Method = append(p.r.Method[:0], value...)
	case hasScheme:
		p.r.Scheme = append(p.r.Scheme[:0], value...)
	case hasAuthority:
		p.r.Authority = append(p.r.Authority[:0], value...)
	case hasPath:
		p.r.Path = append(p.r.Path[:0], value...)
	case hasProtocol:
		p.protocol = append(p.protocol, value...)
	case hasStatus:
		if n := parseLength(value); len(value) == 3 && n >= 100 {
			p.status = int(n)
		} else {
			p.bad("invalid :status")
		}
	}
}

// check holds the rules on whole requests, and completes the request. connect says
// that extended CONNECT was offered.
func (p *headParser) check(connect bool) {
	r := p.r
	if p.fault != "" || p.tooLarge {
		return
	}
	want := uint8(hasMethod | hasScheme | hasPath)
	isConnect := string(r.Method) == "CONNECT"
	switch {
	case p.pseudo&hasProtocol != 0:
		want |= hasAuthority | hasProtocol
		if !isConnect || !connect {
			p.bad(":protocol that was not asked for")
		}
	case isConnect:
		want = hasMethod | hasAuthority
		if p.pseudo&(hasScheme|hasPath) != 0 {
			p.bad("CONNECT with a scheme or a path")
		}
		r.Path, r.Scheme = r.Path[:0], r.Scheme[:0]
	}
	switch {
	case p.pseudo&want != want:
		p.bad("pseudo-header missing")
	case !validToken(r.Method):
		p.bad("invalid :method")
	case !validAuthority(r.Authority) || !validAuthority(p.host):
		p.bad("invalid :authority or Host")
	case want&hasPath != 0 && !validPath(r.Path, r.Method):
		p.bad("invalid :path")
	case p.pseudo&hasAuthority == 0:
		r.Authority = append(r.Authority[:0], p.host...)
	case p.pseudo&hasHost != 0 && !stream.EqualFold(p.host, string(r.Authority)):
		p.bad("Host differs from :authority")
	}
}
