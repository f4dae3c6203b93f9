package listener

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ProxyHeader is a PROXY protocol header (HAProxy's "The PROXY protocol",
// versions 1 and 2).
type ProxyHeader struct {
	// Source and Dest are the connection that the sender received; invalid for
	// UNKNOWN and LOCAL, where the connection's own addresses stand.
	Source, Dest netip.AddrPort
}

const (
	proxyV2Signature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV1Signature = "PROXY "
	proxyV1Max       = 107 // bytes of a version 1 line with CRLF, by the specification
	// proxyV2Max bounds the addresses and TLVs of a version 2 header.
	proxyV2Max = 4 << 10
)

var errNoProxyHeader = errors.New("the connection does not begin with a PROXY protocol header")

// ParseProxyHeader reads a header from the first bytes of a connection and tells
// its length. It returns errMore while the header is not complete.
func ParseProxyHeader(b []byte) (h ProxyHeader, length int, err error) {
	switch {
	case bytes.HasPrefix(b, []byte(proxyV2Signature)):
		return parseProxyV2(b)
	case bytes.HasPrefix(b, []byte(proxyV1Signature)):
		return parseProxyV1(b)
	case strings.HasPrefix(proxyV2Signature, string(b)), strings.HasPrefix(proxyV1Signature, string(b)):
		return h, 0, errMore
	}
	return h, 0, errNoProxyHeader
}

func parseProxyV1(b []byte) (h ProxyHeader, length int, err error) {
	end := bytes.Index(b, []byte("\r\n"))
	if end < 0 {
		if len(b) >= proxyV1Max {
			return h, 0, fmt.Errorf("proxy protocol v1: line longer than %d bytes", proxyV1Max)
		}
		return h, 0, errMore
	}
	if end+2 > proxyV1Max {
		return h, 0, fmt.Errorf("proxy protocol v1: line longer than %d bytes", proxyV1Max)
	}
	f := strings.Split(string(b[:end]), " ")
	if f[1] == "UNKNOWN" {
		return h, end + 2, nil
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return h, 0, fmt.Errorf("proxy protocol v1: bad line %q", b[:end])
	}
	if h.Source, err = proxyV1Addr(f[1], f[2], f[4]); err != nil {
		return ProxyHeader{}, 0, err
	}
	if h.Dest, err = proxyV1Addr(f[1], f[3], f[5]); err != nil {
		return ProxyHeader{}, 0, err
	}
	return h, end + 2, nil
}

func proxyV1Addr(family, addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Is4() != (family == "TCP4") || a.Zone() != "" {
		return netip.AddrPort{}, fmt.Errorf("proxy protocol v1: bad %s address %q", family, addr)
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("proxy protocol v1: bad port %q", port)
	}
	return netip.AddrPortFrom(a, uint16(p)), nil
}

func parseProxyV2(b []byte) (h ProxyHeader, length int, err error) {
	if len(b) < 16 {
		return h, 0, errMore
	}
	version, command, family := b[12]>>4, b[12]&15, b[13]
	n := int(binary.BigEndian.Uint16(b[14:16]))
	switch {
	case version != 2:
		return h, 0, fmt.Errorf("proxy protocol: version %d", version)
	case command > 1:
		return h, 0, fmt.Errorf("proxy protocol v2: command %d", command)
	case n > proxyV2Max:
		return h, 0, fmt.Errorf("proxy protocol v2: header of %d bytes", n)
	case len(b) < 16+n:
		return h, 0, errMore
	}
	body, length := b[16:16+n], 16+n
	if command == 0 { // LOCAL: a health check of the sender
		return h, length, nil
	}
	size := 0
	switch family {
	case 0x11: // TCP over IPv4
		size = 4
	case 0x21: // TCP over IPv6
		size = 16
	default: // UDP, Unix, unspecified: the connection's own addresses stand
		return h, length, nil
	}
	if n < 2*size+4 {
		return h, 0, fmt.Errorf("proxy protocol v2: %d bytes are too few for family %#x", n, family)
	}
	port := func(off int) uint16 { return binary.BigEndian.Uint16(body[off:]) }
	h.Source = netip.AddrPortFrom(proxyV2Addr(body[:size]), port(2*size))
	h.Dest = netip.AddrPortFrom(proxyV2Addr(body[size:2*size]), port(2*size+2))
	return h, length, nil
}

func proxyV2Addr(b []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(b) // the length is 4 or 16
	return a.Unmap()
}
