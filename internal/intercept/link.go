package intercept

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// The functions of this file act on the network namespace of the thread that
// calls them: use them within Namespace.Do.

// withNetlink opens a netlink socket of the thread's namespace. The package-level
// functions of netlink keep one from another thread.
func withNetlink(f func(*netlink.Handle) error) error {
	h, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("opening netlink: %w", err)
	}
	defer h.Close()
	return f(h)
}

func linkUp(name string) error {
	return withNetlink(func(h *netlink.Handle) error {
		l, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("bringing up %s: %w", name, err)
		}
		return nil
	})
}

// AddBridge makes a bridge with an address, up.
func AddBridge(name string, addr netip.Prefix) error {
	return withNetlink(func(h *netlink.Handle) error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
			return fmt.Errorf("making the bridge %s: %w", name, err)
		}
		return setUp(h, name, addr)
	})
}

// AddVeth makes a pair of virtual interfaces: name, on the bridge of this
// namespace, and peer in the other namespace.
func AddVeth(name, bridge, peer string, other *Namespace) error {
	return withNetlink(func(h *netlink.Handle) error {
		br, err := h.LinkByName(bridge)
		if err != nil {
			return fmt.Errorf("link %s: %w", bridge, err)
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MasterIndex = name, br.Attrs().Index
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: peer, PeerNamespace: netlink.NsFd(other.File().Fd())}
		if err := h.LinkAdd(veth); err != nil {
			return fmt.Errorf("making the link %s: %w", name, err)
		}
		l, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		if err := h.LinkSetUp(l); err != nil {
			return fmt.Errorf("bringing up %s: %w", name, err)
		}
		return nil
	})
}

// RemoveLink takes a link away, and with a veth its peer.
func RemoveLink(name string) error {
	return withNetlink(func(h *netlink.Handle) error {
		l, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		if err := h.LinkDel(l); err != nil {
			return fmt.Errorf("removing %s: %w", name, err)
		}
		return nil
	})
}

// Address gives an interface its address and the default route, and brings it up.
func Address(name string, addr netip.Prefix, gateway netip.Addr) error {
	return withNetlink(func(h *netlink.Handle) error {
		if err := setUp(h, name, addr); err != nil {
			return err
		}
		l, err := h.LinkByName(name)
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
		all := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
		if err := h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: all, Gw: gateway.AsSlice()}); err != nil {
			return fmt.Errorf("default route over %s: %w", gateway, err)
		}
		return nil
	})
}

func setUp(h *netlink.Handle, name string, addr netip.Prefix) error {
	l, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	ipNet := &net.IPNet{IP: addr.Addr().AsSlice(), Mask: net.CIDRMask(addr.Bits(), addr.Addr().BitLen())}
	if err := h.AddrAdd(l, &netlink.Addr{IPNet: ipNet}); err != nil {
		return fmt.Errorf("address %s on %s: %w", addr, name, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("bringing up %s: %w", name, err)
	}
	return nil
}

// Addresses lists the addresses of all interfaces of the thread's namespace.
func Addresses() ([]netip.Addr, error) {
	var addrs []netip.Addr
	err := withNetlink(func(h *netlink.Handle) error {
		list, err := h.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("listing addresses: %w", err)
		}
		for _, a := range list {
			if addr, ok := netip.AddrFromSlice(a.IP); ok {
				addrs = append(addrs, addr.Unmap())
			}
		}
		return nil
	})
	return addrs, err
}
