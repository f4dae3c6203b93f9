package rawio

import (
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxCall bounds the bytes of one raw system call: while it copies, its P cannot
// be stopped for the garbage collector.
const maxCall = 256 << 10

// maxVecs bounds the buffers of one gathered write.
const maxVecs = 16

// Conn is a connected TCP socket with raw non-blocking I/O.
type Conn struct {
	// immutable
	file          *os.File // registers the descriptor with the runtime's poller and counts its users
	raw           syscall.RawConn
	local, remote netip.AddrPort
	rd, wr, lazy  func(fd uintptr) bool // made once: a closure per call would be garbage
	peek          func(fd uintptr)

	// of the reading goroutine
	rbuf  []byte
	rsize int
	rlazy *Buffer
	rn    int
	rerr  error

	peeked bool // the last Unread found something

	// of the writing goroutine
	one  [1][]byte
	wbuf [][]byte // what is left to write
	woff int      // bytes of wbuf[0] that are written
	wn   int64
	werr error

	closeOnce sync.Once
	closeErr  error

	mu        sync.Mutex
	watch     *Watch // guarded by mu: where hang-ups are watched; nil: nowhere
	slot, gen uint32 // guarded by mu: the registration there
}

// NewConn takes over a connected socket. It makes the descriptor non-blocking
// and closes it if it cannot be used.
func NewConn(fd int) (*Conn, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "socket")
	if file == nil {
		return nil, fmt.Errorf("descriptor %d: %w", fd, unix.EBADF)
	}
	c, err := newConn(file, fd)
	if err != nil {
		file.Close()
		return nil, err
	}
	return c, nil
}

func newConn(file *os.File, fd int) (*Conn, error) {
	raw, err := file.SyscallConn()
	if err != nil {
		return nil, err
	}
	// A descriptor that the poller does not take would block its thread.
	if err := file.SetDeadline(time.Time{}); err != nil {
		return nil, fmt.Errorf("socket is not pollable: %w", err)
	}
	c := &Conn{file: file, raw: raw}
	if err := c.readAddrs(fd); err != nil {
		return nil, err
	}
	c.rd, c.wr, c.lazy, c.peek = c.tryRead, c.tryWrite, c.tryLazy, c.tryPeek
	return c, nil
}

func (c *Conn) readAddrs(fd int) error {
	local, err := unix.Getsockname(fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	remote, err := unix.Getpeername(fd)
	if err != nil {
		return os.NewSyscallError("getpeername", err)
	}
	c.local, c.remote = addrPort(local), addrPort(remote)
	return nil
}

// LocalAddr is the socket's own address.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() netip.AddrPort { return c.remote }

// Read reads once; it waits while there is nothing.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.rbuf, c.rn, c.rerr = p[:min(len(p), maxCall)], 0, nil
	err := c.raw.Read(c.rd)
	c.rbuf = nil
	if err != nil {
		return 0, pollError(err)
	}
	return c.rn, c.rerr
}

// tryRead makes one read and reports whether it is done (not: nothing yet).
func (c *Conn) tryRead(fd uintptr) bool {
	n, errno := sysRead(fd, c.rbuf)
	return c.readDone(n, errno)
}

func (c *Conn) readDone(n int, errno syscall.Errno) bool {
	switch {
	case errno == unix.EAGAIN:
		return false
	case errno != 0:
		c.rerr = os.NewSyscallError("read", errno)
	case n == 0:
		c.rerr = io.EOF
	default:
		c.rn = n
	}
	return true
}

// ReadLazy implements LazyReader.
func (c *Conn) ReadLazy(size int) (*Buffer, int, error) {
	c.rsize, c.rn, c.rerr = size, 0, nil
	err := c.raw.Read(c.lazy)
	b := c.rlazy
	c.rlazy = nil
	if err == nil {
		err = c.rerr
	} else {
		err = pollError(err)
	}
	if err != nil {
		b.Release()
		return nil, 0, err
	}
	return b, c.rn, nil
}

func (c *Conn) tryLazy(fd uintptr) bool {
	b := GetBuffer(c.rsize)
	n, errno := sysRead(fd, b.B)
	if !c.readDone(n, errno) {
		b.Release()
		return false
	}
	c.rlazy = b
	return true
}

// Write writes all of p.
func (c *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.one[0] = p
	n, err := c.WriteBuffers(c.one[:])
	c.one[0] = nil
	return int(n), err
}

// WriteBuffers writes all buffers with as few calls as the kernel allows.
func (c *Conn) WriteBuffers(bufs [][]byte) (int64, error) {
	c.wbuf, c.woff, c.wn, c.werr = bufs, 0, 0, nil
	err := c.raw.Write(c.wr)
	c.wbuf = nil
	if err != nil {
		return c.wn, pollError(err)
	}
	return c.wn, c.werr
}

// writeNow makes one write without waiting.
func (c *Conn) writeNow(p []byte) (n int, err error) {
	err = c.control("write", func(fd int) error {
		n, err = unix.SendmsgN(fd, p, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		return err
	})
	return n, err
}

// tryWrite writes until everything is written, or the socket's buffer is full.
func (c *Conn) tryWrite(fd uintptr) bool {
	var iov [maxVecs]unix.Iovec // not kept: an idle connection has no use for it
	for {
		k := c.gather(&iov)
		if k == 0 {
			return true
		}
		var n int
		var errno syscall.Errno
		if k == 1 {
			n, errno = sysWrite(fd, &iov[0])
		} else {
			n, errno = sysWritev(fd, iov[:k])
		}
		switch {
		case errno == unix.EAGAIN:
			return false
		case errno != 0:
			c.werr = os.NewSyscallError("write", errno)
			return true
		}
		c.wn += int64(n)
		c.woff += n
	}
}

// gather fills the vectors with what is left to write, up to maxCall bytes.
func (c *Conn) gather(iov *[maxVecs]unix.Iovec) int {
	for len(c.wbuf) > 0 && c.woff >= len(c.wbuf[0]) {
		c.woff -= len(c.wbuf[0])
		c.wbuf = c.wbuf[1:]
	}
	k, room, off := 0, maxCall, c.woff
	for _, b := range c.wbuf {
		if k == maxVecs || room == 0 {
			break
		}
		b = b[off:]
		off = 0
		if len(b) == 0 {
			continue
		}
		n := min(len(b), room)
		iov[k].Base = &b[0]
		iov[k].SetLen(n)
		room -= n
		k++
	}
	return k
}

// SetDeadline implements Transport.
func (c *Conn) SetDeadline(t time.Time) error { return c.file.SetDeadline(t) }

// SetReadDeadline implements Transport.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.file.SetReadDeadline(t) }

// SetWriteDeadline bounds writes alone.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.file.SetWriteDeadline(t) }

// CloseWrite sends a FIN after what was written.
func (c *Conn) CloseWrite() error {
	return c.control("shutdown", func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
}

// Close closes the socket and wakes blocked calls. It may be called again.
func (c *Conn) Close() error {
	c.closeOnce.Do(func() {
		c.mu.Lock()
		w, slot, gen := c.watch, c.slot, c.gen
		c.watch = nil
		c.mu.Unlock()
		if w != nil {
			w.release(slot, gen)
		}
		c.closeErr = c.file.Close()
	})
	return c.closeErr
}

// Abort closes the socket with a RST instead of a FIN: what was not sent yet is
// dropped.
func (c *Conn) Abort() error {
	err := c.control("setsockopt SO_LINGER", func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	})
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// control runs f with the descriptor, which cannot be closed meanwhile.
func (c *Conn) control(what string, f func(fd int) error) error {
	var err error
	if cerr := c.raw.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return pollError(cerr)
	}
	return os.NewSyscallError(what, err)
}

// pollError translates the poller's errors: a RawConn of a file hands them out
// without the names that package os gives them.
func pollError(err error) error {
	if IsTimeout(err) {
		return ErrDeadline
	}
	return ErrClosed
}

func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	}
	return netip.AddrPort{}
}
