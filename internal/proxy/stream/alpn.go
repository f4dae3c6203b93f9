package stream

import "slices"

// ALPN are the protocols that a TLS connection to an upstream offers, by what will
// be spoken on it. It is immutable: streams of one origin share one.
type ALPN struct {
	HTTP1 []string
	HTTP2 []string
	// Either is offered where the handshake decides: HTTP/2 is preferred.
	Either []string
}

// NewALPN makes the offers of the two protocols.
func NewALPN(http1, http2 []string) *ALPN {
	a := &ALPN{HTTP1: http1, HTTP2: http2, Either: slices.Clone(http2)}
	for _, p := range http1 {
		if !slices.Contains(a.Either, p) {
			a.Either = append(a.Either, p)
		}
	}
	return a
}

// Equal reports whether both offer the same.
func (a *ALPN) Equal(b *ALPN) bool {
	if a == b {
		return true
	}
	return a != nil && b != nil && slices.Equal(a.HTTP1, b.HTTP1) && slices.Equal(a.HTTP2, b.HTTP2)
}
