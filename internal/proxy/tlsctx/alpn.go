package tlsctx

import (
	"slices"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Speak is what is to be spoken on a connection.
type Speak uint8

const (
	Opaque Speak = iota // bytes: the configured protocols are offered as they are
	HTTP1
	HTTP2
	Negotiated // HTTP/2 where the peer agrees, else HTTP/1.1
)

// peerExchange is agreed between mesh peers of opaque connections only: after it,
// metadata comes before the first byte.
const peerExchange = "istio-peer-exchange"

// Spoken tells which version of HTTP a negotiated protocol stands for. ok is false
// where it says nothing: for none at all, and for the mesh's own "istio".
func Spoken(alpn string) (p stream.Proto, ok bool) {
	switch alpn {
	case "h2", "istio-h2":
		return stream.HTTP2, true
	case "http/1.1", "istio-http/1.1":
		return stream.HTTP11, true
	case "http/1.0", "istio-http/1.0":
		return stream.HTTP10, true
	}
	return 0, false
}

// offer gives the protocols that a client offers, from what its configuration
// names. Where that names none for HTTP/2, "h2" is offered all the same: RFC 9113
// §3.2 makes servers expect it.
func offer(configured []string, d Dial) []string {
	if d.Speak == Opaque {
		return configured
	}
	if d.ALPN != nil {
		return [...][]string{HTTP1: d.ALPN.HTTP1, HTTP2: d.ALPN.HTTP2, Negotiated: d.ALPN.Either}[d.Speak]
	}
	var out []string
	for _, p := range configured {
		v, known := Spoken(p)
		if p == peerExchange || known && v == stream.HTTP2 && d.Speak == HTTP1 {
			continue
		}
		out = append(out, p)
	}
	switch {
	case len(out) > 0:
	case d.Speak == HTTP2:
		out = []string{"h2"}
	case d.Speak == Negotiated:
		out = []string{"h2", "http/1.1"}
	}
	return out
}

// withoutHTTP2 leaves out what an endpoint of HTTP/1.1 cannot speak.
func withoutHTTP2(alpn []string) []string {
	return slices.DeleteFunc(slices.Clone(alpn), func(p string) bool {
		v, ok := Spoken(p)
		return ok && v == stream.HTTP2
	})
}
