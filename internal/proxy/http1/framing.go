package http1

import (
	"bytes"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// framing is what a header section says of the message's length and of the
// connection. Slices are views into the head.
type framing struct {
	length    int64 // Content-Length; -1: none
	chunked   bool
	hosts     int
	host      []byte
	close     bool // Connection: close
	keepAlive bool // Connection: keep-alive
	upgrading bool // Connection: upgrade
	upgrade   []byte
	expect    bool     // Expect: 100-continue
	nominated [][]byte // other names in Connection
	trailers  bool     // the section is a trailer section
}

func (f *framing) reset() {
	*f = framing{length: -1, nominated: f.nominated[:0]}
}

// keep reports whether the sender lets the connection live on.
func (f *framing) keep(p stream.Proto) bool {
	return !f.close && (p == stream.HTTP11 || f.keepAlive)
}

// role is what a field means to the codec.
type role uint8

const (
	roleNone       role = iota
	roleLength          // Content-Length
	roleCoding          // Transfer-Encoding
	roleHost            // Host
	roleConnection      // Connection
	roleUpgrade         // Upgrade
	roleExpect          // Expect
	roleTE              // TE
	roleDrop            // the connection's own and without meaning here
)

// roles is indexed by the known name's id.
var roles = func() (t [256]role) {
	for n, r := range map[stream.Name]role{
		stream.ContentLength:    roleLength,
		stream.TransferEncoding: roleCoding,
		stream.Host:             roleHost,
		stream.Connection:       roleConnection,
		stream.Upgrade:          roleUpgrade,
		stream.Expect:           roleExpect,
		stream.TE:               roleTE,
		stream.KeepAlive:        roleDrop,
		stream.ProxyConnection:  roleDrop,
	} {
		t[n.ID()] = r
	}
	return t
}()

// note takes in one known field and reports whether it stays in the head.
func (f *framing) note(n stream.Name, value []byte) (keep bool, err error) {
	r := roles[uint8(n.ID())]
	if r == roleNone {
		return true, nil
	}
	if f.trailers {
		return false, errTrailer
	}
	switch r {
	case roleLength:
		if f.length >= 0 {
			return false, errManyLengths
		}
		if f.length = parseLength(value); f.length < 0 {
			return false, errLength
		}
		return true, nil
	case roleCoding:
		if f.chunked {
			return false, errManyCodings
		}
		if !stream.EqualFold(value, "chunked") {
			return false, codingError(value)
		}
		f.chunked = true
	case roleHost:
		f.hosts++
		f.host = value
		return true, nil
	case roleConnection:
		f.connection(value)
	case roleUpgrade:
		f.upgrade, _ = nextToken(value)
	case roleExpect:
		f.expect = f.expect || stream.EqualFold(value, "100-continue")
		return true, nil
	case roleTE:
		// Trailers are passed on, which is all that gRPC asks with it.
		return stream.EqualFold(value, "trailers"), nil
	}
	return false, nil
}

// codingError tells a coding that is not known from a list that does not end with
// chunked, of which nobody knows where the body ends: a server must answer that with
// 400 (RFC 9112 §6.3).
func codingError(list []byte) error {
	if last := list[bytes.LastIndexByte(list, ',')+1:]; stream.EqualFold(trim(last), "chunked") {
		return errCoding
	}
	return errLastCoding
}

// connection reads one Connection field (RFC 9110 §7.6.1).
func (f *framing) connection(list []byte) {
	for len(list) > 0 {
		var token []byte
		token, list = nextToken(list)
		switch {
		case len(token) == 0:
		case stream.EqualFold(token, "close"):
			f.close = true
		case stream.EqualFold(token, "keep-alive"):
			f.keepAlive = true
		case stream.EqualFold(token, "upgrade"):
			f.upgrading = true
		default:
			f.nominated = append(f.nominated, token)
		}
	}
}

// removeNominated takes out the fields that Connection names. A client that names
// a field that is not the connection's own tries to have it lost on the way.
func (f *framing) removeNominated(h *stream.Head) error {
	for _, token := range f.nominated {
		known := stream.KnownName(token)
		switch {
		case roles[uint8(known.ID())] == roleTE:
		case roles[uint8(known.ID())] == roleDrop, roles[uint8(known.ID())] == roleUpgrade:
		case known.ID() != 0:
			return errNominated
		default:
			h.Del(stream.N(string(token)))
		}
	}
	return nil
}

// check holds the rules on lengths that are the same for both directions (RFC
// 9112 §6.3).
func (f *framing) check(p stream.Proto) error {
	if !f.chunked {
		return nil
	}
	if f.length >= 0 {
		return errBothLengths
	}
	if p == stream.HTTP10 {
		return errCoding10
	}
	return nil
}
