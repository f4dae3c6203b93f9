package netns

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/intercept"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// Sockets makes the sockets of a workload's proxy: listening ones in the
// workload's namespace, dialled ones there for the mesh and the workload itself,
// and in the host's namespace for everything else. It implements rawio.Sockets.
type Sockets struct {
	Inside *intercept.Namespace
	// Mesh are the ranges that are reached through the workload's namespace.
	Mesh []netip.Prefix
	// Exposed are ports that the host reaches too; nil: none.
	Exposed *HostPorts
}

var _ rawio.Sockets = Sockets{}

// Sockets makes the sockets for the proxy of p. ports may be nil.
func (p *Place) Sockets(ports *HostPorts) Sockets {
	return Sockets{Inside: p.Namespace, Mesh: p.network.meshCIDRs(), Exposed: ports}
}

// Listen implements rawio.Sockets.
func (s Sockets) Listen(addr netip.AddrPort) ([]int, error) {
	fds, err := s.Inside.Sockets().Listen(addr)
	if err != nil || s.Exposed == nil {
		return fds, err
	}
	fd, ok, err := s.Exposed.listen(addr.Port())
	if err != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, err
	}
	if ok {
		fds = append(fds, fd)
	}
	return fds, nil
}

// Dial implements rawio.Sockets.
func (s Sockets) Dial(remote netip.AddrPort) (int, error) {
	a := remote.Addr().Unmap()
	inside := a.IsLoopback() || slices.ContainsFunc(s.Mesh, func(p netip.Prefix) bool { return p.Contains(a) })
	if inside {
		return s.Inside.Sockets().Dial(remote)
	}
	return rawio.HostSockets{}.Dial(remote)
}

// HostPorts are addresses on the host's loopback that stand for ports of a
// gateway in the mesh. Reserve takes them before anybody listens, so that they
// can be told to the user; until a listener comes, callers are refused.
type HostPorts struct {
	mu    sync.Mutex
	ports map[uint16]hostPort // guarded by mu, by port in the mesh
}

type hostPort struct {
	holder int // a bound socket that does not listen
	addr   netip.AddrPort
}

// NewHostPorts makes an empty set.
func NewHostPorts() *HostPorts { return &HostPorts{ports: map[uint16]hostPort{}} }

// maxSearch is how many ports above the wanted one are tried.
const maxSearch = 100

// Reserve takes a port on 127.0.0.1 for a port of the gateway: the wanted one,
// or the next free one above; 0 takes any.
func (h *HostPorts) Reserve(inMesh, wanted uint16) (netip.AddrPort, error) {
	var err error
	for i := range maxSearch {
		port := int(wanted) + i
		if wanted == 0 {
			port = 0
		}
		if port > 65535 {
			break
		}
		var p hostPort
		if p, err = hold(uint16(port)); err == nil {
			h.mu.Lock()
			h.ports[inMesh] = p
			h.mu.Unlock()
			return p.addr, nil
		}
		if !errors.Is(err, unix.EADDRINUSE) && !errors.Is(err, unix.EACCES) {
			break
		}
	}
	return netip.AddrPort{}, fmt.Errorf("no free port on 127.0.0.1 from %d on: %w", wanted, err)
}

// hold binds a port without listening. While its SO_REUSEADDR is off, nobody else
// can bind the port; it is on while binding, so that remains of closed
// connections do not count as taken.
func hold(port uint16) (hostPort, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return hostPort{}, fmt.Errorf("socket: %w", err)
	}
	err = bindShared(fd, port)
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
	}
	var sa unix.Sockaddr
	if err == nil {
		sa, err = unix.Getsockname(fd)
	}
	if err != nil {
		unix.Close(fd)
		return hostPort{}, fmt.Errorf("port %d on 127.0.0.1: %w", port, err)
	}
	in4 := sa.(*unix.SockaddrInet4)
	return hostPort{fd, netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port))}, nil
}

func bindShared(fd int, port uint16) error {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(port)})
}

// listen makes a listening socket on the host for a port of the gateway; ok is
// false if that port has none.
func (h *HostPorts) listen(inMesh uint16) (fd int, ok bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.ports[inMesh]
	if !ok {
		return -1, false, nil
	}
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, false, err
	}
	// Gateways that replace one another share the port for a while.
	err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if err != nil {
		unix.Close(fd)
		return -1, false, err
	}
	// The holder lets exactly this socket in.
	err = unix.SetsockoptInt(p.holder, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	if err == nil {
		err = bindShared(fd, p.addr.Port())
		err = errors.Join(err, unix.SetsockoptInt(p.holder, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0))
	}
	if err == nil {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		unix.Close(fd)
		return -1, false, fmt.Errorf("listening on %s: %w", p.addr, err)
	}
	return fd, true, nil
}

// Addr gives the host's address for a port of the gateway; invalid if there is
// none.
func (h *HostPorts) Addr(inMesh uint16) netip.AddrPort {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ports[inMesh].addr
}

// Close gives the ports back.
func (h *HostPorts) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	var errs []error
	for _, p := range h.ports {
		errs = append(errs, unix.Close(p.holder))
	}
	clear(h.ports)
	return errors.Join(errs...)
}

// Holders gives the holding descriptors by port in the mesh, to hand them to a
// child process; they stay h's. AdoptHostPorts is the other side.
func (h *HostPorts) Holders() map[uint16]int {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := map[uint16]int{}
	for port, p := range h.ports {
		out[port] = p.holder
	}
	return out
}

// AdoptHostPorts takes over holding descriptors.
func AdoptHostPorts(holders map[uint16]int) (*HostPorts, error) {
	h := NewHostPorts()
	for port, fd := range holders {
		sa, err := unix.Getsockname(fd)
		in4, ok := sa.(*unix.SockaddrInet4)
		if err != nil || !ok {
			return nil, fmt.Errorf("descriptor %d for port %d is no bound socket: %w", fd, port, err)
		}
		h.ports[port] = hostPort{fd, netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port))}
	}
	return h, nil
}
