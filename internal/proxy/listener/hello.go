package listener

import (
	"errors"
	"strings"
)

// Hello is what the listener reads of a TLS ClientHello (RFC 8446 §4.1.2).
type Hello struct {
	ServerName string // SNI in lower case, "" if there is none
	ALPNs      []string
}

// Results of the inspectors while they read.
var (
	errMore   = errors.New("more bytes are needed")
	errNotTLS = errors.New("not a TLS ClientHello")
)

const (
	recordHandshake  = 22
	messageHello     = 1
	extensionSNI     = 0
	extensionALPN    = 16
	maxRecordPayload = 16 << 10
	// maxHello bounds a ClientHello; post-quantum key shares take 2 KiB.
	maxHello = 16 << 10
)

// ParseHello reads a ClientHello from the first bytes of a connection. It returns
// errMore while they may still become one, and errNotTLS when they cannot.
// A message split over several records (RFC 8446 §5.1) is put together.
func ParseHello(b []byte) (Hello, error) {
	var msg []byte
	for n := 0; ; n++ {
		payload, rest, err := record(b)
		if err != nil {
			return Hello{}, err
		}
		switch n {
		case 0:
			msg = payload // the common case: nothing is copied
		case 1:
			msg = append(msg[:len(msg):len(msg)], payload...)
		default:
			msg = append(msg, payload...) // a copy of our own by now
		}
		if len(msg) > 0 && msg[0] != messageHello {
			return Hello{}, errNotTLS
		}
		if len(msg) >= 4 {
			n := int(msg[1])<<16 | int(msg[2])<<8 | int(msg[3])
			if n > maxHello {
				return Hello{}, errNotTLS
			}
			if len(msg) >= 4+n {
				return parseHelloBody(msg[4 : 4+n])
			}
		}
		if len(rest) == 0 {
			return Hello{}, errMore
		}
		b = rest
	}
}

// record takes one TLS record of handshake type off b. A record that is not
// complete gives errMore, unless what is there rules TLS out.
func record(b []byte) (payload, rest []byte, err error) {
	switch {
	case len(b) == 0:
		return nil, nil, errMore
	case b[0] != recordHandshake, len(b) > 1 && b[1] != 3, len(b) > 2 && b[2] > 4:
		return nil, nil, errNotTLS
	case len(b) < 5:
		return nil, nil, errMore
	}
	n := int(b[3])<<8 | int(b[4])
	if n == 0 || n > maxRecordPayload+256 {
		return nil, nil, errNotTLS
	}
	if len(b) < 5+n {
		return nil, nil, errMore
	}
	return b[5 : 5+n], b[5+n:], nil
}

// cursor reads length-prefixed fields; bad is set on the first that does not fit.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if c.bad || len(c.b) < n {
		c.bad = true
		return nil
	}
	v := c.b[:n]
	c.b = c.b[n:]
	return v
}

func (c *cursor) number(bytes int) int {
	n := 0
	for _, x := range c.take(bytes) {
		n = n<<8 | int(x)
	}
	return n
}

func (c *cursor) vector(lengthBytes int) []byte { return c.take(c.number(lengthBytes)) }

func parseHelloBody(body []byte) (Hello, error) {
	c := cursor{b: body}
	c.take(2 + 32) // legacy_version, random
	c.vector(1)    // legacy_session_id
	c.vector(2)    // cipher_suites
	c.vector(1)    // legacy_compression_methods
	if c.bad {
		return Hello{}, errNotTLS
	}
	var h Hello
	if len(c.b) == 0 {
		return h, nil // no extensions: TLS 1.2 allows it
	}
	ext := cursor{b: c.vector(2)}
	for !c.bad && !ext.bad && len(ext.b) > 0 {
		kind := ext.number(2)
		value := cursor{b: ext.vector(2)}
		if ext.bad {
			break
		}
		switch kind {
		case extensionSNI:
			h.ServerName = serverName(value)
		case extensionALPN:
			h.ALPNs = protocols(value)
		}
	}
	if c.bad || ext.bad {
		return Hello{}, errNotTLS
	}
	return h, nil
}

// serverName reads server_name (RFC 6066 §3): the first entry of type host_name.
func serverName(v cursor) string {
	list := cursor{b: v.vector(2)}
	for !v.bad && !list.bad && len(list.b) > 0 {
		kind := list.number(1)
		name := list.vector(2)
		if !list.bad && kind == 0 {
			return strings.ToLower(string(name))
		}
	}
	return ""
}

// protocols reads application_layer_protocol_negotiation (RFC 7301 §3.1).
func protocols(v cursor) []string {
	list := cursor{b: v.vector(2)}
	var out []string
	for !v.bad && !list.bad && len(list.b) > 0 {
		if p := list.vector(1); !list.bad {
			out = append(out, string(p))
		}
	}
	return out
}
