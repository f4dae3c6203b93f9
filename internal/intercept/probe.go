package intercept

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// ErrNotRedirected is what Probe finds where no rules are.
var ErrNotRedirected = errors.New("connections are not redirected: the rules are missing")

// elsewhere is an address that nobody has (RFC 5737).
var elsewhere = netip.MustParseAddr("192.0.2.1")

// Probe checks with a connection that redirection works in the process's own
// network namespace; it needs no privilege. A process of the proxy's user calls
// the pod's own address, which the rules take for a call from outside; any other
// calls an address outside. Where port, at which Probe listens itself, gets the
// call, or nobody does, the rules are missing.
func Probe(ctx context.Context, o PodOptions, port uint16, timeout time.Duration) error {
	if o.Mode == ModeNone {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if !o.isProxy(os.Getuid(), os.Getgid()) {
		if !o.Outbound.All {
			return errors.New("only the proxy's user can check redirection where not all outbound traffic is redirected")
		}
		return probe(ctx, netip.AddrPortFrom(elsewhere, port), o.OutboundPort)
	}
	own, err := ownAddress()
	if err != nil {
		return err
	}
	if o.Mode == ModeTProxy {
		return probeTransparent(ctx, netip.AddrPortFrom(own, port))
	}
	return probe(ctx, netip.AddrPortFrom(own, port), o.InboundPort)
}

func (o PodOptions) isProxy(uid, gid int) bool {
	return slices.Contains(o.UIDs, uint32(uid)) || slices.Contains(o.GIDs, uint32(gid))
}

// probe connects to an address where nobody listens, and expects the call at the
// port. Where a proxy holds the port already, that somebody accepts is enough.
func probe(ctx context.Context, to netip.AddrPort, port uint16) error {
	fds, err := rawio.HostSockets{}.Listen(netip.AddrPortFrom(netip.IPv6Unspecified(), port))
	if errors.Is(err, unix.EAFNOSUPPORT) {
		fds, err = rawio.HostSockets{}.Listen(netip.AddrPortFrom(netip.IPv4Unspecified(), port))
	}
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return dialProbe(ctx, to)
	case err != nil:
		return fmt.Errorf("checking redirection: %w", err)
	}
	l, err := rawio.Listen(fds[0])
	if err != nil {
		return fmt.Errorf("checking redirection: %w", err)
	}
	got := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- fmt.Errorf("%w: nothing came to port %d", ErrNotRedirected, port)
			return
		}
		defer c.Close()
		dst, err := c.OriginalDst()
		if err == nil && dst != to {
			err = fmt.Errorf("checking redirection: a connection to %s came as one to %s", to, dst)
		}
		got <- err
	}()
	if err := dialProbe(ctx, to); err != nil {
		l.Close()
		<-got
		return err
	}
	select {
	case err = <-got:
		return errors.Join(err, l.Close())
	case <-ctx.Done():
		l.Close()
		return <-got
	}
}

func dialProbe(ctx context.Context, to netip.AddrPort) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", to.String())
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRedirected, err)
	}
	return c.Close()
}

// probeTransparent listens at the address itself. With the rules nobody gets the
// call: only the proxy can have the socket that it is meant for.
func probeTransparent(ctx context.Context, to netip.AddrPort) error {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", to.String())
	if err != nil {
		return fmt.Errorf("checking redirection: %w", err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", to.String())
	switch {
	case err == nil:
		return errors.Join(ErrNotRedirected, c.Close())
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return nil
	}
	return fmt.Errorf("checking redirection: %w", err)
}

// ownAddress gives an address that others reach the pod by.
func ownAddress() (netip.Addr, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("the pod's address: %w", err)
	}
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok {
			continue
		}
		if addr, ok := netip.AddrFromSlice(n.IP); ok && addr.Unmap().IsGlobalUnicast() && addr != passSource6.Addr() {
			return addr.Unmap(), nil
		}
	}
	return netip.Addr{}, errors.New("the pod has no address")
}
