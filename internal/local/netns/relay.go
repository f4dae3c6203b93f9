package netns

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// relay connects what leaves the mesh without one of our own proxies (a real
// Envoy, a workload's excluded ports) with the outside: the hub's rules bring
// TCP here, and it dials from the host's namespace.
type relay struct {
	listener net.Listener
	mesh     []netip.Prefix
	log      *slog.Logger
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{} // guarded by mu
	closed bool                  // guarded by mu
}

func startRelay(l net.Listener, mesh []netip.Prefix, log *slog.Logger) *relay {
	r := &relay{listener: l, mesh: mesh, log: log, conns: map[net.Conn]struct{}{}}
	r.wg.Go(r.serve)
	return r
}

func (r *relay) port() uint16 { return uint16(r.listener.Addr().(*net.TCPAddr).Port) }

func (r *relay) serve() {
	for {
		c, err := r.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors: wait for better times
			r.log.Warn("relay to the outside does not accept", "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		r.wg.Go(func() {
			if err := r.relay(c.(*net.TCPConn)); err != nil {
				r.log.Debug("relay to the outside", "from", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// hold registers a connection to be closed with the relay.
func (r *relay) hold(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.conns[c] = struct{}{}
	}
	return !r.closed
}

func (r *relay) release(c net.Conn) {
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
	c.Close()
}

func (r *relay) relay(c *net.TCPConn) error {
	defer r.release(c)
	if !r.hold(c) {
		return net.ErrClosed
	}
	dst, err := originalDst(c)
	if err != nil {
		return err
	}
	if err := r.outside(dst.Addr()); err != nil {
		// A virtual address that nobody serves: refuse it at once, as a host would.
		return errors.Join(err, c.SetLinger(0))
	}
	out, err := net.DialTimeout("tcp4", dst.String(), 30*time.Second)
	if err != nil {
		return errors.Join(err, c.SetLinger(0))
	}
	defer r.release(out)
	if !r.hold(out) {
		return net.ErrClosed
	}
	return join(c, out.(*net.TCPConn))
}

// outside refuses what must not be dialled from the host's namespace on behalf
// of a workload: the mesh's own ranges, and the host's loopback.
func (r *relay) outside(a netip.Addr) error {
	for _, p := range r.mesh {
		if p.Contains(a) {
			return fmt.Errorf("nothing serves %s in the mesh", a)
		}
	}
	if a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
		return fmt.Errorf("%s is not outside", a)
	}
	return nil
}

// join copies both ways, passing half-closes on.
func join(a, b *net.TCPConn) error {
	done := make(chan error, 1)
	go func() { done <- forward(a, b) }()
	err := forward(b, a)
	return errors.Join(err, <-done)
}

func forward(to, from *net.TCPConn) error {
	if _, err := io.Copy(to, from); err != nil {
		return errors.Join(err, to.Close(), from.Close())
	}
	return to.CloseWrite()
}

// originalDst reads the address that the client dialled before the redirection.
func originalDst(c *net.TCPConn) (netip.AddrPort, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var dst netip.AddrPort
	cerr := raw.Control(func(fd uintptr) {
		// A sockaddr_in; IPv6Mreq is a structure of its size that unix reads into.
		var m *unix.IPv6Mreq
		if m, err = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST); err == nil {
			a := m.Multiaddr
			dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(a[4:8])), uint16(a[2])<<8|uint16(a[3]))
		}
	})
	if err = errors.Join(cerr, err); err != nil {
		return dst, fmt.Errorf("original destination: %w", err)
	}
	return dst, nil
}

func (r *relay) close() {
	r.mu.Lock()
	r.closed = true
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.listener.Close()
	r.wg.Wait()
}
