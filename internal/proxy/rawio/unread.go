package rawio

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Unread reports whether something waits to be read from t, be it bytes, the peer's
// end or an error. It does not wait. Nobody may read t meanwhile.
func Unread(t Transport) bool {
	for {
		if u, ok := t.(interface{ Unread() bool }); ok {
			return u.Unread()
		}
		w, ok := t.(wrapper)
		if !ok {
			return false
		}
		t = w.Unwrap()
	}
}

// Unread reports whether the socket can be read without waiting.
func (c *Conn) Unread() bool {
	// Control fails only on a closed socket.
	return c.raw.Control(c.peek) != nil || c.peeked
}

// tryPeek looks for a byte, an end or an error, and leaves it there.
func (c *Conn) tryPeek(fd uintptr) {
	var b [1]byte
	for {
		_, _, errno := syscall.RawSyscall6(unix.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(&b)), 1, unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
		if errno != unix.EINTR {
			c.peeked = errno != unix.EAGAIN
			return
		}
	}
}

// Unread reports whether there is more than was read: decrypted, read ahead, or in
// the transport below. What a peer sends on its own, such as a ticket, counts too.
func (c *TLSConn) Unread() bool {
	if c.end != nil || c.shim.ahead != nil || c.shim.rerr != nil {
		return true
	}
	if c.pending { // the last read was full: there may be more
		var b [1]byte
		if n, err := c.take(b[:]); n > 0 || err != nil {
			return true
		}
	}
	return Unread(c.shim.t)
}
