package rawio

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Listener accepts connections on a listening socket.
type Listener struct {
	file *os.File
	raw  syscall.RawConn
	addr netip.AddrPort
}

// Listen takes over a socket that listens already. It makes the descriptor
// non-blocking and closes it if it cannot be used.
func Listen(fd int) (*Listener, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("getsockname", err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	return &Listener{file: file, raw: raw, addr: addrPort(sa)}, nil
}

// Addr is the address that the socket is bound to.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// Accept waits for the next connection. It returns ErrClosed after Close.
// Connections that were gone before they were accepted are passed over.
func (l *Listener) Accept() (*Conn, error) {
	for {
		fd, err := l.acceptFD()
		if err != nil {
			return nil, err
		}
		// Small writes must not wait for the peer's acknowledgement.
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
			unix.Close(fd)
			return nil, os.NewSyscallError("setsockopt TCP_NODELAY", err)
		}
		c, err := NewConn(fd)
		if errors.Is(err, unix.ENOTCONN) {
			continue
		}
		return c, err
	}
}

func (l *Listener) acceptFD() (fd int, err error) {
	perr := l.raw.Read(func(lfd uintptr) bool {
		for {
			fd, _, err = unix.Accept4(int(lfd), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			switch err {
			case unix.EAGAIN:
				return false
			case unix.EINTR, unix.ECONNABORTED:
				continue
			}
			return true
		}
	})
	if perr != nil {
		return -1, pollError(perr)
	}
	if err != nil {
		return -1, fmt.Errorf("accept on %s: %w", l.addr, err)
	}
	return fd, nil
}

// Close closes the socket and wakes Accept.
func (l *Listener) Close() error { return l.file.Close() }

// OriginalDst returns the address that the client dialled before the packet
// filter redirected the connection here (SO_ORIGINAL_DST). It is an error if the
// connection was not redirected.
func (c *Conn) OriginalDst() (netip.AddrPort, error) {
	var dst netip.AddrPort
	err := c.control("getsockopt SO_ORIGINAL_DST", func(fd int) (err error) {
		if c.local.Addr().Is4() {
			dst, err = originalDst4(fd)
		} else {
			dst, err = originalDst6(fd)
		}
		return err
	})
	return dst, err
}

// originalDst4 asks for a sockaddr_in; IPv6Mreq is a structure of the size that
// package unix reads into, as it has no getter for this option.
func originalDst4(fd int) (netip.AddrPort, error) {
	m, err := unix.GetsockoptIPv6Mreq(fd, unix.SOL_IP, unix.SO_ORIGINAL_DST)
	if err != nil {
		return netip.AddrPort{}, err
	}
	a := m.Multiaddr
	port := uint16(a[2])<<8 | uint16(a[3])
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), port), nil
}

// originalDst6 asks for a sockaddr_in6 (IP6T_SO_ORIGINAL_DST, the same number),
// which IPv6MTUInfo begins with.
func originalDst6(fd int) (netip.AddrPort, error) {
	m, err := unix.GetsockoptIPv6MTUInfo(fd, unix.SOL_IPV6, unix.SO_ORIGINAL_DST)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port := (*[2]byte)(unsafe.Pointer(&m.Addr.Port)) // in network order
	return netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr).Unmap(), binary.BigEndian.Uint16(port[:])), nil
}
