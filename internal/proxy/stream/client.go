package stream

import (
	"bytes"
	"net/netip"
)

// Client is the address that counts as the client's: the one that stands in
// x-forwarded-for left of TrustedHops entries by trusted proxies, and the
// connection's own where that field is missing, too short, or no address.
//
// It is Envoy's "trusted client address": an edge has appended its own peer to
// the field by then, so that clients cannot choose what is read; any other proxy
// believes the proxy before it.
func (s *Stream) Client() netip.Addr {
	if a, ok := forwardedBy(&s.Request.Head, int(s.TrustedHops)+1); ok {
		return a
	}
	if s.Conn == nil {
		return netip.Addr{}
	}
	return s.Conn.Remote.Addr().Unmap()
}

// ClientAddr is Client as Envoy's logs write it: with the connection's port where the
// address is the connection's own, and with port 0 where x-forwarded-for names it.
func (s *Stream) ClientAddr() netip.AddrPort {
	if !s.Edge || s.TrustedHops > 0 {
		if a, ok := forwardedBy(&s.Request.Head, int(s.TrustedHops)+1); ok {
			return netip.AddrPortFrom(a, 0)
		}
	}
	if s.Conn == nil {
		return netip.AddrPort{}
	}
	return s.Conn.Remote
}

// forwardedBy gives the nth address from the right of x-forwarded-for, whose
// lines are one list (RFC 9110 §5.3).
func forwardedBy(h *Head, n int) (netip.Addr, bool) {
	if h.absent(ForwardedFor) {
		return netip.Addr{}, false
	}
	for i := len(h.fields) - 1; i >= 0; i-- {
		f := &h.fields[i]
		if !h.is(f, ForwardedFor) {
			continue
		}
		rest := h.valueAt(f)
		for more := true; more; {
			var last []byte
			if at := bytes.LastIndexByte(rest, ','); at >= 0 {
				last, rest = rest[at+1:], rest[:at]
			} else {
				last, more = rest, false
			}
			if n--; n == 0 {
				return parseIP(bytes.Trim(last, " \t"))
			}
		}
	}
	return netip.Addr{}, false
}

// parseIP reads an address, an IPv4 one without making a string of it.
func parseIP(b []byte) (netip.Addr, bool) {
	var four [4]byte
	at, digits, n := 0, 0, 0
	for i := 0; ; i++ {
		if i == len(b) || b[i] == '.' {
			if digits == 0 || n > 255 || at == len(four) {
				break
			}
			four[at] = byte(n)
			at, digits, n = at+1, 0, 0
			if i == len(b) {
				return netip.AddrFrom4(four), at == len(four)
			}
			continue
		}
		if b[i] < '0' || b[i] > '9' || digits > 0 && n == 0 { // no leading zeros
			break
		}
		digits, n = digits+1, min(n*10+int(b[i]-'0'), 256)
	}
	a, err := netip.ParseAddr(string(b))
	return a.Unmap().WithZone(""), err == nil
}
