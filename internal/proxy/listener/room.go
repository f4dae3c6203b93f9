package listener

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// noRoom counts a connection in, and gives the reason why it cannot be served, ""
// if it can.
func (m *Manager) noRoom() string {
	n := m.stats.Active.Add(1)
	if most := m.opts.MaxConnections; most > 0 && n > int64(most) {
		m.stats.Active.Add(-1)
		m.stats.Refused.Add(1)
		return fmt.Sprintf("more than %d connections", most)
	}
	if m.opts.Gate == nil {
		return ""
	}
	why, ok := m.opts.Gate.Admit()
	if ok {
		return ""
	}
	m.stats.Active.Add(-1)
	m.stats.Overloaded.Add(1)
	return why
}

// turnAway resets a connection that was not counted in, and tells why. There is no
// queue in which it could wait.
func (m *Manager) turnAway(s *socket, x *rawio.Listener, c *rawio.Conn, why string) {
	l := s.cfg.Load()
	if m.opts.Unserved != nil {
		info := &stream.Conn{
			ID: m.nextID.Add(1), Remote: c.RemoteAddr(), Local: c.LocalAddr(), Bound: x.Addr(), Start: time.Now(), Listener: l.Name, Dir: l.Dir,
		}
		m.opts.Unserved(l, info, stream.Reason{Code: stream.Overload, Detail: why})
	}
	_ = c.Abort() // the client sees a reset
}

// reserve is a descriptor that is given up when there is no other: to accept a
// connection and reset it, which would else hang in the kernel's queue until its
// client gives up.
type reserve struct{ fd int } // -1: there is none

func newReserve() *reserve {
	r := &reserve{-1}
	r.fill()
	return r
}

func (r *reserve) fill() {
	if r.fd >= 0 {
		return
	}
	fd, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return // out of descriptors still; asked again at the next need
	}
	r.fd = fd
}

func (r *reserve) close() {
	if r.fd >= 0 {
		_ = unix.Close(r.fd) // nothing was written
		r.fd = -1
	}
}

func outOfDescriptors(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE)
}

// acceptWith accepts one connection with the reserve's descriptor, and resets it if
// there is no other for the reserve by then: while connections come and go, there
// mostly is. It returns nil where there is none to serve; a false ok says that the
// reserve was of no use.
func (m *Manager) acceptWith(spare *reserve, s *socket, x *rawio.Listener) (c *rawio.Conn, ok bool) {
	if spare.fill(); spare.fd < 0 {
		return nil, false
	}
	spare.close()
	defer spare.fill()
	// The kernel looks for a descriptor before it looks for a connection, so this may
	// wait for one.
	c, err := x.Accept()
	if err != nil {
		return nil, false
	}
	if spare.fill(); spare.fd >= 0 {
		return c, true
	}
	m.stats.Total.Add(1)
	m.stats.Overloaded.Add(1)
	m.turnAway(s, x, c, "no descriptor left")
	return nil, true
}
