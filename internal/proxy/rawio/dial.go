package rawio

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// DialOptions are options of a dialled socket.
type DialOptions struct {
	Timeout   time.Duration // to connect; 0: as long as ctx
	KeepAlive *KeepAlive    // nil: off
}

// KeepAlive are TCP keep-alive settings; zero fields keep the kernel's.
type KeepAlive struct {
	Probes   int
	Time     time.Duration // idle time before the first probe
	Interval time.Duration // between probes
}

// Dial connects to remote with a socket of s, bound to the local address if that
// is valid (any port). It returns ctx's error or ErrDeadline when it was given
// up, and else the kernel's (ECONNREFUSED, EHOSTUNREACH).
func Dial(ctx context.Context, s Sockets, local netip.Addr, remote netip.AddrPort, o DialOptions) (*Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, dialError(remote, err)
	}
	fd, err := s.Dial(remote)
	if err != nil {
		return nil, dialError(remote, err)
	}
	if err := prepare(fd, local, o); err != nil {
		unix.Close(fd)
		return nil, dialError(remote, err)
	}
	c, err := connect(ctx, fd, remote, o.Timeout)
	if err != nil {
		return nil, dialError(remote, err)
	}
	return c, nil
}

func dialError(remote netip.AddrPort, err error) error {
	return fmt.Errorf("dial %s: %w", remote, err)
}

// prepare sets the options that must be there before the handshake.
func prepare(fd int, local netip.Addr, o DialOptions) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return os.NewSyscallError("setsockopt TCP_NODELAY", err)
	}
	if local.IsValid() {
		// The kernel picks the port when it knows the peer: many connections to
		// different peers may share one.
		if err := unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1); err != nil {
			return os.NewSyscallError("setsockopt IP_BIND_ADDRESS_NO_PORT", err)
		}
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(local, 0))); err != nil {
			return fmt.Errorf("bind %s: %w", local, err)
		}
	}
	return keepAlive(fd, o.KeepAlive)
}

func keepAlive(fd int, k *KeepAlive) error {
	if k == nil {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1); err != nil {
		return os.NewSyscallError("setsockopt SO_KEEPALIVE", err)
	}
	for _, opt := range []struct{ name, value int }{
		{unix.TCP_KEEPCNT, k.Probes},
		{unix.TCP_KEEPIDLE, int(k.Time / time.Second)},
		{unix.TCP_KEEPINTVL, int(k.Interval / time.Second)},
	} {
		if opt.value <= 0 {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, opt.name, opt.value); err != nil {
			return fmt.Errorf("setsockopt keep-alive: %w", err)
		}
	}
	return nil
}

// connect owns fd: it is the connection's on success and closed otherwise.
func connect(ctx context.Context, fd int, remote netip.AddrPort, timeout time.Duration) (*Conn, error) {
	var err error
	for {
		if err = unix.Connect(fd, sockaddr(remote)); err != unix.EINTR {
			break
		}
	}
	if err != nil && err != unix.EINPROGRESS && err != unix.EALREADY {
		unix.Close(fd)
		return nil, os.NewSyscallError("connect", err)
	}
	file := os.NewFile(uintptr(fd), "socket")
	if err == nil || err == unix.EISCONN {
		return finish(file, fd)
	}
	if err := await(ctx, file, timeout); err != nil {
		file.Close()
		return nil, err
	}
	return finish(file, fd)
}

func finish(file *os.File, fd int) (*Conn, error) {
	c, err := newConn(file, fd)
	if err != nil {
		file.Close()
	}
	return c, err
}

// await waits until the connection is there or refused.
func await(ctx context.Context, file *os.File, timeout time.Duration) error {
	if timeout > 0 {
		if err := file.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
	}
	if ctx.Done() != nil {
		woken := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			defer close(woken)
			// A failure means that the socket is closed, which wakes as well.
			_ = file.SetWriteDeadline(Past)
		})
		defer func() {
			if !stop() {
				<-woken
			}
		}()
	}
	err := awaitWritable(file)
	if cerr := ctx.Err(); cerr != nil && err != nil {
		return cerr
	}
	if err != nil {
		return err
	}
	return file.SetWriteDeadline(time.Time{})
}

// awaitWritable parks until the kernel reports the outcome in SO_ERROR. The
// first call only parks: the outcome is not known before an event came.
func awaitWritable(file *os.File) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	perr := raw.Write(func(fd uintptr) bool {
		var v int
		if v, result = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR); result != nil {
			return true
		}
		if v != 0 {
			result = os.NewSyscallError("connect", unix.Errno(v))
			return true
		}
		// No error and no peer: an early or spurious event.
		_, perr := unix.Getpeername(int(fd))
		return !errors.Is(perr, unix.ENOTCONN)
	})
	if perr != nil {
		return pollError(perr)
	}
	return result
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	addr := a.Addr()
	if addr.Is4() || addr.Is4In6() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: addr.Unmap().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: addr.As16(), ZoneId: zone(addr)}
}
