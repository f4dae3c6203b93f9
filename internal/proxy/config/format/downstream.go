package format

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// downstreamOp holds the operators about the client's connection.
func downstreamOp(name string) op {
	switch name {
	case "DOWNSTREAM_REMOTE_ADDRESS": // of the client that is trusted to be it; the next, of the connection
		return func(dst []byte, src *Source) ([]byte, bool) { return addr(dst, src.Stream.ClientAddr()) }
	case "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT":
		return func(dst []byte, src *Source) ([]byte, bool) { return ip(dst, src.Stream.ClientAddr()) }
	case "DOWNSTREAM_REMOTE_PORT":
		return func(dst []byte, src *Source) ([]byte, bool) { return port(dst, src.Stream.ClientAddr()) }
	case "DOWNSTREAM_DIRECT_REMOTE_ADDRESS":
		return conn(func(dst []byte, c *stream.Conn) ([]byte, bool) { return addr(dst, direct(c)) })
	case "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT":
		return conn(func(dst []byte, c *stream.Conn) ([]byte, bool) { return ip(dst, direct(c)) })
	case "DOWNSTREAM_DIRECT_REMOTE_PORT":
		return conn(func(dst []byte, c *stream.Conn) ([]byte, bool) { return port(dst, direct(c)) })
	case "DOWNSTREAM_LOCAL_ADDRESS":
		return conn(func(dst []byte, c *stream.Conn) ([]byte, bool) { return addr(dst, c.Local) })
	case "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT":
		return conn(func(dst []byte, c *stream.Conn) ([]byte, bool) { return ip(dst, c.Local) })
	case "DOWNSTREAM_LOCAL_PORT":
		return conn(func(dst []byte, c *stream.Conn) ([]byte, bool) { return port(dst, c.Local) })
	case "DOWNSTREAM_DIRECT_LOCAL_ADDRESS":
		return conn(func(dst []byte, c *stream.Conn) ([]byte, bool) { return addr(dst, c.Bound) })
	case "CONNECTION_ID":
		return conn(func(dst []byte, c *stream.Conn) ([]byte, bool) { return strconv.AppendUint(dst, c.ID, 10), true })
	case "FILTER_CHAIN_NAME":
		return conn(func(dst []byte, c *stream.Conn) ([]byte, bool) { return text(dst, c.Chain) })
	}
	return downstreamTLSOp(name)
}

func downstreamTLSOp(name string) op {
	var get func(t *stream.TLS) string
	switch name {
	case "REQUESTED_SERVER_NAME":
		get = func(t *stream.TLS) string { return t.ServerName }
	case "DOWNSTREAM_PEER_URI_SAN":
		get = func(t *stream.TLS) string {
			if len(t.PeerURIs) > 1 {
				return strings.Join(t.PeerURIs, ",")
			}
			return t.PeerURI
		}
	case "DOWNSTREAM_PEER_DNS_SAN":
		get = func(t *stream.TLS) string { return strings.Join(t.PeerDNS, ",") }
	case "DOWNSTREAM_LOCAL_URI_SAN":
		get = func(t *stream.TLS) string { return t.LocalURI }
	case "DOWNSTREAM_PEER_SUBJECT":
		get = func(t *stream.TLS) string { return t.PeerSubj }
	case "DOWNSTREAM_PEER_ISSUER":
		get = func(t *stream.TLS) string { return t.Issuer }
	case "DOWNSTREAM_PEER_FINGERPRINT_256":
		get = func(t *stream.TLS) string { return t.PeerHash }
	case "DOWNSTREAM_PEER_SERIAL":
		get = func(t *stream.TLS) string { return t.PeerSerial }
	case "DOWNSTREAM_PEER_CERT":
		get = func(t *stream.TLS) string { return t.PeerPEM }
	case "DOWNSTREAM_TLS_VERSION":
		get = tlsVersion
	case "DOWNSTREAM_TLS_CIPHER":
		get = tlsCipher
	default:
		return nil
	}
	return conn(func(dst []byte, c *stream.Conn) ([]byte, bool) {
		if c.TLS == nil {
			return dst, false
		}
		return text(dst, get(c.TLS))
	})
}

// direct is the other end of the client's socket.
func direct(c *stream.Conn) netip.AddrPort {
	if c.Direct.IsValid() {
		return c.Direct // behind a proxy that speaks the PROXY protocol
	}
	return c.Remote
}

func conn(f func([]byte, *stream.Conn) ([]byte, bool)) op {
	return func(dst []byte, src *Source) ([]byte, bool) {
		if src.Stream.Conn == nil {
			return dst, false
		}
		return f(dst, src.Stream.Conn)
	}
}
