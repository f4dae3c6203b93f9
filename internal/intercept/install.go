package intercept

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Install sets up redirection in the network namespace of the calling thread, and
// checks that it is there: rules for both address families (IPv6 where the
// namespace has it), in TPROXY mode routing, and with IPv6 the address that the
// proxy calls its application from. After an error nothing is installed; doing it
// again changes nothing.
func Install(o PodOptions) error {
	if o.Mode == ModeNone {
		return Uninstall(o)
	}
	rs, err := o.rulesHere()
	if err != nil {
		return err
	}
	if err := o.install(rs); err != nil {
		return errors.Join(err, Uninstall(o))
	}
	return nil
}

func (o PodOptions) install(rs Ruleset) error {
	if len(rs) > 1 {
		if err := setPassSource6(true); err != nil {
			return err
		}
	}
	for _, t := range rs {
		if err := o.route(t.Family, o.Mode == ModeTProxy); err != nil {
			return err
		}
	}
	if err := rs.Apply(); err != nil {
		return err
	}
	return rs.Verify()
}

// Installed reports an error unless the namespace of the calling thread holds
// the rules for the options.
func Installed(o PodOptions) error {
	rs, err := o.rulesHere()
	if err != nil {
		return err
	}
	return rs.Verify()
}

// Uninstall takes away what Install sets up in the network namespace of the
// calling thread; what is not there is no error.
func Uninstall(o PodOptions) error {
	rs, err := o.rulesHere()
	if err != nil {
		return err
	}
	errs := []error{rs.Remove()}
	for _, t := range rs {
		errs = append(errs, o.route(t.Family, false))
	}
	if len(rs) > 1 {
		errs = append(errs, setPassSource6(false))
	}
	return errors.Join(errs...)
}

// rulesHere gives the tables for the address families of the namespace.
func (o PodOptions) rulesHere() (Ruleset, error) {
	rs := PodRules(o)
	has, err := hasIPv6()
	if err != nil {
		return nil, err
	}
	if !has {
		rs = rs[:1]
	}
	return rs, nil
}

// hasIPv6 tells whether an interface of the namespace has an IPv6 address. Rules
// are made then even if no address reaches outside: a later one must not let
// traffic pass by the proxy.
func hasIPv6() (bool, error) {
	text, err := os.ReadFile("/proc/thread-self/net/if_inet6")
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil // a kernel without IPv6
	}
	if err != nil {
		return false, fmt.Errorf("reading the namespace's IPv6 addresses: %w", err)
	}
	return strings.TrimSpace(string(text)) != "", nil
}

// setPassSource6 adds or removes ::6 at the loopback interface. Of IPv4 the whole
// range 127.0.0.0/8 is local; of IPv6 only ::1 is.
func setPassSource6(present bool) error {
	return withNetlink(func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("link lo: %w", err)
		}
		addr := &netlink.Addr{IPNet: ipNet(passSource6), Flags: unix.IFA_F_NODAD}
		if present {
			err = ignore(h.AddrAdd(lo, addr), unix.EEXIST)
		} else {
			err = ignore(h.AddrDel(lo, addr), unix.EADDRNOTAVAIL)
		}
		if err != nil {
			return fmt.Errorf("address %s on lo: %w", passSource6.Addr(), err)
		}
		return nil
	})
}

// route adds or removes the routing of TPROXY mode: what has the mark is for this
// host, whatever its destination.
func (o PodOptions) route(f Family, present bool) error {
	family, all := unix.AF_INET, netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if f == IPv6 {
		family, all = unix.AF_INET6, netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return withNetlink(func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("link lo: %w", err)
		}
		rule := netlink.NewRule()
		rule.Family, rule.Mark, rule.Table = family, o.Mark, o.RouteTable
		route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: ipNet(all), Table: o.RouteTable, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, Family: family}
		if present {
			err = errors.Join(ignore(h.RouteReplace(route), unix.EEXIST), ignore(h.RuleAdd(rule), unix.EEXIST))
		} else {
			err = errors.Join(ignore(h.RuleDel(rule), unix.ENOENT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP), ignore(h.RouteDel(route), unix.ESRCH, unix.ENOENT))
		}
		if err != nil {
			return fmt.Errorf("routing of %s packets with mark %d: %w", f, o.Mark, err)
		}
		return nil
	})
}

// ignore gives nil instead of one of the errors.
func ignore(err error, these ...error) error {
	for _, e := range these {
		if errors.Is(err, e) {
			return nil
		}
	}
	return err
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
