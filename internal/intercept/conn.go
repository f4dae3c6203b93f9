package intercept

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// Listen listens in the namespace, for servers that are not part of the data
// plane: admin pages, names over TCP.
func (n *Namespace) Listen(addr netip.AddrPort) (l net.Listener, err error) {
	err = n.Do(func() error {
		l, err = net.Listen("tcp", addr.String())
		return err
	})
	return l, err
}

// ListenPacket opens a UDP socket in the namespace.
func (n *Namespace) ListenPacket(addr netip.AddrPort) (c net.PacketConn, err error) {
	err = n.Do(func() error {
		c, err = net.ListenPacket("udp", addr.String())
		return err
	})
	return c, err
}

// DialContext connects over TCP to a literal address as the namespace's
// application would: without the proxy's mark. It is for probes and admin pages.
func (n *Namespace) DialContext(ctx context.Context, _, address string) (net.Conn, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("dial %s in a namespace: %w", address, err)
	}
	c, err := rawio.Dial(ctx, plain{n}, netip.Addr{}, addr, rawio.DialOptions{})
	if err != nil {
		return nil, err
	}
	return conn{c}, nil
}

// plain makes unmarked sockets.
type plain struct{ n *Namespace }

func (p plain) Listen(addr netip.AddrPort) ([]int, error) { return p.n.Sockets().Listen(addr) }

func (p plain) Dial(remote netip.AddrPort) (fd int, err error) {
	err = p.n.Do(func() error {
		fd, err = rawio.HostSockets{}.Dial(remote)
		return err
	})
	return fd, err
}

// conn is a raw connection for code that wants a net.Conn.
type conn struct{ *rawio.Conn }

func (c conn) LocalAddr() net.Addr  { return net.TCPAddrFromAddrPort(c.Conn.LocalAddr()) }
func (c conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.Conn.RemoteAddr()) }
