package netns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Relay copies connections between two namespaces. It ends with Close.
type Relay struct {
	listener net.Listener
	dial     func(*net.TCPConn) (net.Conn, error)
	log      *slog.Logger
	wg       sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{} // guarded by mu
	closed bool                  // guarded by mu
}

// startRelay serves l, which it closes; dial gives the other side of a
// connection.
func startRelay(l net.Listener, dial func(*net.TCPConn) (net.Conn, error), log *slog.Logger) *Relay {
	r := &Relay{listener: l, dial: dial, log: log, conns: map[net.Conn]struct{}{}}
	r.wg.Go(r.serve)
	return r
}

// outbound connects what leaves a workload's namespace without one of our own
// proxies (a real Envoy, a workload without a proxy, excluded ports): the hub's
// rules bring TCP here. To the outside it dials from the host's namespace; for a
// service's virtual address it dials an endpoint, as kube-proxy does on a node.
type outbound struct{ network *Network }

func (o outbound) dial(c *net.TCPConn) (net.Conn, error) {
	dst, err := originalDst(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	if o.network.config.Services.Contains(dst.Addr()) {
		find := o.network.services.Load()
		if find == nil {
			return nil, fmt.Errorf("no services are known yet: %s", dst)
		}
		to, ok := (*find)(dst)
		if !ok {
			return nil, fmt.Errorf("nothing serves %s in the mesh", dst)
		}
		return o.network.hub.DialContext(ctx, "tcp", to.String())
	}
	if err := o.check(dst.Addr()); err != nil {
		return nil, err
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp4", dst.String())
}

// SetServices tells the relay how to find an endpoint for a virtual address: for
// workloads without a proxy, which know nothing of services.
func (n *Network) SetServices(find func(netip.AddrPort) (netip.AddrPort, bool)) {
	n.services.Store(&find)
}

const dialTimeout = 30 * time.Second

// Expose serves a reserved port of the host by connections to the same port of a
// pod, for gateways whose proxy cannot have a socket in the host's namespace.
func (n *Network) Expose(h *HostPorts, inMesh uint16, pod netip.Addr) (*Relay, error) {
	fd, ok, err := h.listen(inMesh)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("port %d has no port on the host", inMesh)
	}
	f := os.NewFile(uintptr(fd), "exposed")
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("port %d on the host: %w", inMesh, err)
	}
	target := netip.AddrPortFrom(pod, inMesh).String()
	return startRelay(l, func(*net.TCPConn) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
		defer cancel()
		return n.hub.DialContext(ctx, "tcp", target)
	}, n.log), nil
}

// port is where the relay listens.
func (r *Relay) port() uint16 { return uint16(r.listener.Addr().(*net.TCPAddr).Port) }

func (r *Relay) serve() {
	for {
		c, err := r.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of descriptors: wait for better times
			r.log.Warn("relay does not accept", "error", err)
			time.Sleep(50 * time.Millisecond)
			continue
		}
		r.wg.Go(func() {
			if err := r.relay(c.(*net.TCPConn)); err != nil {
				r.log.Debug("relay", "from", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// hold registers a connection to be closed with the relay.
func (r *Relay) hold(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.closed {
		r.conns[c] = struct{}{}
	}
	return !r.closed
}

func (r *Relay) release(c net.Conn) {
	r.mu.Lock()
	delete(r.conns, c)
	r.mu.Unlock()
	c.Close()
}

func (r *Relay) relay(c *net.TCPConn) error {
	defer r.release(c)
	if !r.hold(c) {
		return net.ErrClosed
	}
	out, err := r.dial(c)
	if err != nil {
		// Refuse at once, as a host would.
		return errors.Join(err, c.SetLinger(0))
	}
	defer r.release(out)
	if !r.hold(out) {
		return net.ErrClosed
	}
	return join(c, out.(duplex))
}

// check refuses what must not be dialled from the host's namespace on behalf
// of a workload: the mesh's own ranges, and the host's loopback.
func (o outbound) check(a netip.Addr) error {
	for _, p := range o.network.meshCIDRs() {
		if p.Contains(a) {
			return fmt.Errorf("nothing serves %s in the mesh", a)
		}
	}
	if a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
		return fmt.Errorf("%s is not outside", a)
	}
	return nil
}

// duplex is a connection with half-close.
type duplex interface {
	net.Conn
	CloseWrite() error
}

// join copies both ways, passing half-closes on.
func join(a, b duplex) error {
	done := make(chan error, 1)
	go func() { done <- forward(a, b) }()
	err := forward(b, a)
	return errors.Join(err, <-done)
}

func forward(to, from duplex) error {
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

// Close ends the relay and its connections.
func (r *Relay) Close() {
	r.mu.Lock()
	r.closed = true
	for c := range r.conns {
		c.Close()
	}
	r.mu.Unlock()
	r.listener.Close()
	r.wg.Wait()
}
