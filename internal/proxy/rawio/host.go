package rawio

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// HostSockets makes ordinary sockets in the process's own network namespace.
type HostSockets struct {
	// Mark is the SO_MARK of dialled sockets; 0: none. It needs CAP_NET_ADMIN.
	Mark int
	// ReusePort lets several processes listen on one address (SO_REUSEPORT).
	ReusePort bool
	// Transparent lets listening sockets take connections for other addresses, which
	// the packet filter hands them with their addresses unchanged (TPROXY). It needs
	// CAP_NET_ADMIN.
	Transparent bool
	// Backlog of listening sockets; 0: the kernel's limit.
	Backlog int
}

var _ Sockets = HostSockets{}

// Listen implements Sockets with one socket.
func (h HostSockets) Listen(addr netip.AddrPort) ([]int, error) {
	fd, err := socket(addr.Addr())
	if err != nil {
		return nil, fmt.Errorf("listen %s: %w", addr, err)
	}
	if err := h.listen(fd, addr); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("listen %s: %w", addr, err)
	}
	return []int{fd}, nil
}

func (h HostSockets) listen(fd int, addr netip.AddrPort) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt SO_REUSEADDR", err)
	}
	if h.ReusePort {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return os.NewSyscallError("setsockopt SO_REUSEPORT", err)
		}
	}
	if h.Transparent {
		level, option := unix.SOL_IP, unix.IP_TRANSPARENT
		if !addr.Addr().Is4() && !addr.Addr().Is4In6() {
			level, option = unix.SOL_IPV6, unix.IPV6_TRANSPARENT
		}
		if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
			return os.NewSyscallError("setsockopt IP_TRANSPARENT", err)
		}
	}
	if err := unix.Bind(fd, sockaddr(addr)); err != nil {
		return os.NewSyscallError("bind", err)
	}
	backlog := h.Backlog
	if backlog <= 0 {
		backlog = unix.SOMAXCONN
	}
	return os.NewSyscallError("listen", unix.Listen(fd, backlog))
}

// Dial implements Sockets.
func (h HostSockets) Dial(remote netip.AddrPort) (int, error) {
	fd, err := socket(remote.Addr())
	if err != nil {
		return -1, err
	}
	if h.Mark != 0 {
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, h.Mark); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("setsockopt SO_MARK %d: %w", h.Mark, err)
		}
	}
	return fd, nil
}

func socket(a netip.Addr) (int, error) {
	family := unix.AF_INET6
	if a.Is4() || a.Is4In6() {
		family = unix.AF_INET
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
	return fd, os.NewSyscallError("socket", err)
}

// zone gives the interface index of a link-local address, 0 for others.
func zone(a netip.Addr) uint32 {
	z := a.Zone()
	if z == "" {
		return 0
	}
	if n, err := strconv.ParseUint(z, 10, 32); err == nil {
		return uint32(n)
	}
	if ifi, err := net.InterfaceByName(z); err == nil {
		return uint32(ifi.Index)
	}
	return 0
}
