// Package poll is a thin layer over epoll for the two ends of a measurement, the
// origin and the load generator: one thread, raw system calls, no buffers and no
// goroutines, so that they cost little beside what is measured.
package poll

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Poller waits for events on descriptors. It belongs to one goroutine.
type Poller struct {
	fd     int
	events [512]unix.EpollEvent
}

// New makes a Poller.
func New() (*Poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	return &Poller{fd: fd}, nil
}

// Close ends the poller, not the descriptors that it watches.
func (p *Poller) Close() error { return unix.Close(p.fd) }

// Add watches fd for reading, and for writing if asked for, level triggered.
func (p *Poller) Add(fd int, write bool) error { return p.ctl(unix.EPOLL_CTL_ADD, fd, write) }

// Change changes whether fd is watched for writing.
func (p *Poller) Change(fd int, write bool) error { return p.ctl(unix.EPOLL_CTL_MOD, fd, write) }

func (p *Poller) ctl(op, fd int, write bool) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
	if write {
		e.Events |= unix.EPOLLOUT
	}
	if err := unix.EpollCtl(p.fd, op, fd, &e); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// Event is a descriptor on which something can be done.
type Event struct {
	FD          int
	Read, Write bool
}

// Wait waits for events, for at most the given time (negative: for ever), and
// calls f for each.
func (p *Poller) Wait(timeout time.Duration, f func(Event)) error {
	n, err := p.wait(timeout)
	if err != nil {
		return err
	}
	for _, e := range p.events[:n] {
		const broken = unix.EPOLLERR | unix.EPOLLHUP // reading tells
		f(Event{FD: int(e.Fd), Read: e.Events&(unix.EPOLLIN|broken) != 0, Write: e.Events&unix.EPOLLOUT != 0})
	}
	return nil
}

func (p *Poller) wait(timeout time.Duration) (int, error) {
	// First without waiting, which needs no word to Go's scheduler.
	n, _, errno := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), 0, 0, 0)
	if errno == 0 && (n > 0 || timeout == 0) {
		return int(n), nil
	}
	var ts *unix.Timespec
	if timeout >= 0 {
		t := unix.NsecToTimespec(int64(timeout))
		ts = &t
	}
	n, _, errno = syscall.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)),
		uintptr(unsafe.Pointer(ts)), 0, 0)
	switch errno {
	case 0:
		return int(n), nil
	case unix.EINTR:
		return 0, nil
	}
	return 0, fmt.Errorf("epoll_pwait2: %w", errno)
}

// Read reads from a non-blocking descriptor; again says that there is nothing now.
func Read(fd int, b []byte) (n int, again bool, err error) {
	return result(syscall.RawSyscall(unix.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))))
}

// Write writes to a non-blocking descriptor; again says that there is no room now.
func Write(fd int, b []byte) (n int, again bool, err error) {
	return result(syscall.RawSyscall(unix.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b))))
}

// Discard takes at most n bytes from a socket without copying them.
func Discard(fd, n int) (got int, again bool, err error) {
	return result(syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, uintptr(n), unix.MSG_TRUNC|unix.MSG_DONTWAIT, 0, 0))
}

func result(n, _ uintptr, errno syscall.Errno) (int, bool, error) {
	switch errno {
	case 0:
		return int(n), false, nil
	case unix.EAGAIN, unix.EINTR:
		return 0, true, nil
	}
	return 0, false, errno
}

// Listen opens a non-blocking listening socket.
func Listen(addr netip.AddrPort) (int, error) {
	fd, err := socket()
	if err != nil {
		return -1, err
	}
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err == nil {
		if err = unix.Bind(fd, sockaddr(addr)); err == nil {
			err = unix.Listen(fd, 4096)
		}
	}
	if err != nil {
		_ = unix.Close(fd) // the first error tells
		return -1, fmt.Errorf("listening on %s: %w", addr, err)
	}
	return fd, nil
}

// Accept takes a connection; again says that there is none now.
func Accept(fd int) (conn int, again bool, err error) {
	conn, _, err = unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
	switch err {
	case nil:
		return conn, false, noDelay(conn)
	case unix.EAGAIN, unix.ECONNABORTED, unix.EINTR:
		return -1, true, nil
	}
	return -1, false, fmt.Errorf("accept: %w", err)
}

// Dial connects, waiting for the peer, and returns a non-blocking descriptor. On
// loopback that waits for nothing but a full queue.
func Dial(addr netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	err = unix.Connect(fd, sockaddr(addr))
	if err == nil {
		if err = unix.SetNonblock(fd, true); err == nil {
			err = noDelay(fd)
		}
	}
	if err != nil {
		_ = unix.Close(fd) // the first error tells
		return -1, fmt.Errorf("connecting to %s: %w", addr, err)
	}
	return fd, nil
}

// Close closes a descriptor.
func Close(fd int) error { return unix.Close(fd) }

func socket() (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	return fd, nil
}

func noDelay(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) }

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
}

// PreciseTimers asks the kernel to end this thread's waits on time, not up to
// 50 µs later. The calling goroutine must be locked to its thread.
func PreciseTimers() error { return unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }
