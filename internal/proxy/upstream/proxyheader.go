package upstream

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// appendProxyHeader writes the header of the PROXY protocol, version 1 or 2. Without
// a client (a connection that many share) version 2 says LOCAL, and version 1 names
// the connection's own addresses, as Envoy does.
func appendProxyHeader(b []byte, version uint8, client, dialled, local, remote netip.AddrPort) []byte {
	known := client.IsValid() && dialled.IsValid()
	if !known {
		client, dialled = local, remote
	}
	from, to := client.Addr().Unmap(), dialled.Addr().Unmap()
	if from.Is4() != to.Is4() {
		from, to = netip.AddrFrom16(from.As16()), netip.AddrFrom16(to.As16())
	}
	if version == 1 {
		family := "TCP4"
		if !from.Is4() {
			family = "TCP6"
		}
		b = append(b, "PROXY "+family+" "+from.String()+" "+to.String()+" "...)
		b = strconv.AppendUint(b, uint64(client.Port()), 10)
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(dialled.Port()), 10)
		return append(b, "\r\n"...)
	}
	b = append(b, "\r\n\r\n\x00\r\nQUIT\n"...)
	if !known {
		return append(b, 0x20, 0, 0, 0)
	}
	family, size := byte(0x11), uint16(12)
	if !from.Is4() {
		family, size = 0x21, 36
	}
	b = append(b, 0x21, family)
	b = binary.BigEndian.AppendUint16(b, size)
	b = append(b, from.AsSlice()...)
	b = append(b, to.AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, client.Port())
	return binary.BigEndian.AppendUint16(b, dialled.Port())
}

// writeProxyHeader begins a connection with the header. down is the client's; nil: it
// is not for one client alone.
func writeProxyHeader(t rawio.Transport, version uint8, down *stream.Conn) error {
	var client, dialled netip.AddrPort
	if down != nil {
		client, dialled = down.Remote, down.Local
	}
	if _, err := t.Write(appendProxyHeader(nil, version, client, dialled, t.LocalAddr(), t.RemoteAddr())); err != nil {
		return fmt.Errorf("PROXY protocol: %w", err)
	}
	return nil
}
