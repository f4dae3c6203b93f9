package intercept

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPodFlows sends connections and packets and looks where they arrive.
func TestPodFlows(t *testing.T) {
	needUsers(t)
	for name, c := range map[string]struct {
		set   func(*Settings)
		flows func(w podWorld) []flow
	}{
		"everything": {nil, func(w podWorld) []flow {
			return []flow{
				{"the application to a service", w.app(), virtual + ":9080", "outbound 10.96.0.7:9080 from 10.244.0.2"},
				{"the application to a pod", w.app(), otherIP + ":8080", "outbound 10.244.0.3:8080 from 10.244.0.2"},
				{"the application to itself by loopback", w.app(), "127.0.0.1:8080", "app 127.0.0.1:8080 from 127.0.0.1"},
				{"the application to itself by the pod's address", w.app(), podIP + ":8080", "app 10.244.0.2:8080 from 10.244.0.2"},
				{"the proxy to another pod", w.proxy(), otherIP + ":8080", "other 10.244.0.3:8080 from 10.244.0.2"},
				{"the proxy to its own pod, a service's endpoint", w.proxy(), podIP + ":8080", "inbound 10.244.0.2:8080 from 10.244.0.2"},
				{"the proxy to the application by loopback", w.proxy(), "127.0.0.1:8080", "app 127.0.0.1:8080 from 127.0.0.1"},
				{"the proxy passes a call on", w.proxy().at("127.0.0.6"), podIP + ":8080", "app 10.244.0.2:8080 from 127.0.0.6"},
				{"from outside to the application", w.outside(), podIP + ":8080", "inbound 10.244.0.2:8080 from 10.244.0.3"},
				{"from outside to the outbound port", w.outside(), podIP + ":15001", "inbound 10.244.0.2:15001 from 10.244.0.3"},
				{"from outside to an excluded port", w.outside(), podIP + ":15021", "ready 10.244.0.2:15021 from 10.244.0.3"},
				{"the tunnel's port", w.outside(), podIP + ":15008", "refused"},
				{"names are not captured", w.app(), "udp " + otherIP + ":53", "resolver"},

				{"IPv6: the application to a service", w.app(), "[" + virtual6 + "]:9080", "outbound [fd00:96::7]:9080 from fd00::2"},
				{"IPv6: the application to itself by loopback", w.app(), "[::1]:8080", "app [::1]:8080 from ::1"},
				{"IPv6: the application to itself by the pod's address", w.app(), "[" + podIP6 + "]:8080", "app [fd00::2]:8080 from fd00::2"},
				{"IPv6: the proxy to another pod", w.proxy(), "[" + otherIP6 + "]:8080", "other [fd00::3]:8080 from fd00::2"},
				{"IPv6: the proxy to its own pod", w.proxy(), "[" + podIP6 + "]:8080", "inbound [fd00::2]:8080 from fd00::2"},
				{"IPv6: the proxy passes a call on", w.proxy().at("::6"), "[" + podIP6 + "]:8080", "app [fd00::2]:8080 from ::6"},
				{"IPv6: from outside to the application", w.outside(), "[" + podIP6 + "]:8080", "inbound [fd00::2]:8080 from fd00::3"},
				{"IPv6: from outside to an excluded port", w.outside(), "[" + podIP6 + "]:15021", "ready [fd00::2]:15021 from fd00::3"},
			}
		}},
		"the proxy's group alone": {nil, func(w podWorld) []flow {
			return []flow{
				{"to another pod", user{n: w.pod, uid: 0, gid: proxyUser}, otherIP + ":8080", "other 10.244.0.3:8080 from 10.244.0.2"},
				{"to its own pod", user{n: w.pod, uid: 0, gid: proxyUser}, podIP + ":8080", "inbound 10.244.0.2:8080 from 10.244.0.2"},
			}
		}},
		"inbound ports": {func(s *Settings) { s.Inbound = "8080" }, func(w podWorld) []flow {
			return []flow{
				{"included", w.outside(), podIP + ":8080", "inbound 10.244.0.2:8080 from 10.244.0.3"},
				{"not included", w.outside(), podIP + ":2222", "app 10.244.0.2:2222 from 10.244.0.3"},
			}
		}},
		"no inbound": {func(s *Settings) { s.Inbound = "" }, func(w podWorld) []flow {
			return []flow{
				{"from outside", w.outside(), podIP + ":8080", "app 10.244.0.2:8080 from 10.244.0.3"},
				{"outbound is captured", w.app(), virtual + ":9080", "outbound 10.96.0.7:9080 from 10.244.0.2"},
			}
		}},
		"excluded ports": {func(s *Settings) { s.ExcludeInbound, s.ExcludeOutboundPorts = "2222", "2222,53"; s.CaptureDNS = true }, func(w podWorld) []flow {
			return []flow{
				{"from outside", w.outside(), podIP + ":2222", "app 10.244.0.2:2222 from 10.244.0.3"},
				{"from outside, IPv6", w.outside(), "[" + podIP6 + "]:2222", "app [fd00::2]:2222 from fd00::3"},
				{"from outside to another port", w.outside(), podIP + ":8080", "inbound 10.244.0.2:8080 from 10.244.0.3"},
				{"the application", w.app(), otherIP + ":2222", "other 10.244.0.3:2222 from 10.244.0.2"},
				{"the application, IPv6", w.app(), "[" + otherIP6 + "]:2222", "other [fd00::3]:2222 from fd00::2"},
				{"the application to another port", w.app(), otherIP + ":8080", "outbound 10.244.0.3:8080 from 10.244.0.2"},
				{"names", w.app(), "udp " + otherIP + ":53", "resolver"},
			}
		}},
		"outbound ranges": {func(s *Settings) { s.Outbound, s.ExcludeOutbound = "10.244.0.0/16,fd00::/64", "10.244.0.3/32" }, func(w podWorld) []flow {
			return []flow{
				{"included", w.app(), "10.244.0.9:8080", "outbound 10.244.0.9:8080 from 10.244.0.2"},
				{"excluded", w.app(), otherIP + ":8080", "other 10.244.0.3:8080 from 10.244.0.2"},
				{"not included", w.app(), other1 + ":8080", "other 10.245.0.3:8080 from 10.245.0.2"},
				{"included, IPv6", w.app(), "[" + otherIP6 + "]:8080", "outbound [fd00::3]:8080 from fd00::2"},
			}
		}},
		"included ports": {func(s *Settings) { s.Outbound, s.IncludeOutboundPorts = "", "8080" }, func(w podWorld) []flow {
			return []flow{
				{"included", w.app(), otherIP + ":8080", "outbound 10.244.0.3:8080 from 10.244.0.2"},
				{"not included", w.app(), otherIP + ":2222", "other 10.244.0.3:2222 from 10.244.0.2"},
			}
		}},
		"a loopback range": {func(s *Settings) { s.Outbound = "127.1.0.0/16" }, func(w podWorld) []flow {
			return []flow{
				{"in the range", w.app(), "127.1.0.1:8080", "outbound 127.1.0.1:8080 from 127.0.0.1"},
				{"ordinary loopback", w.app(), "127.0.0.1:8080", "app 127.0.0.1:8080 from 127.0.0.1"},
			}
		}},
		"excluded interface": {func(s *Settings) { s.ExcludeInterfaces = "net1" }, func(w podWorld) []flow {
			return []flow{
				{"out by it", w.app(), other1 + ":8080", "other 10.245.0.3:8080 from 10.245.0.2"},
				{"in by it", w.outside(), podNet1 + ":8080", "app 10.245.0.2:8080 from 10.245.0.3"},
				{"out by another", w.app(), otherIP + ":8080", "outbound 10.244.0.3:8080 from 10.244.0.2"},
				{"in by another", w.outside(), podIP + ":8080", "inbound 10.244.0.2:8080 from 10.244.0.3"},
			}
		}},
		"a virtual machine's interface": {func(s *Settings) { s.RerouteInterfaces, s.ExcludeOutboundPorts = "net1", "2222" }, func(w podWorld) []flow {
			return []flow{
				{"what it sends is outbound", w.outside(), podNet1 + ":8080", "outbound 10.245.0.2:8080 from 10.245.0.3"},
				{"an excluded port", w.outside(), podNet1 + ":2222", "app 10.245.0.2:2222 from 10.245.0.3"},
				{"other interfaces", w.outside(), podIP + ":8080", "inbound 10.244.0.2:8080 from 10.244.0.3"},
			}
		}},
		"included groups": {func(s *Settings) { s.GroupsInclude = "200,201" }, func(w podWorld) []flow {
			return []flow{
				{"of the group", user{n: w.pod, uid: appUser, gid: 201}, otherIP + ":8080", "outbound 10.244.0.3:8080 from 10.244.0.2"},
				{"of another", w.app(), otherIP + ":8080", "other 10.244.0.3:8080 from 10.244.0.2"},
			}
		}},
		"excluded groups": {func(s *Settings) { s.GroupsExclude = "200,201" }, func(w podWorld) []flow {
			return []flow{
				{"of the group", user{n: w.pod, uid: appUser, gid: 201}, otherIP + ":8080", "other 10.244.0.3:8080 from 10.244.0.2"},
				{"of another", w.app(), otherIP + ":8080", "outbound 10.244.0.3:8080 from 10.244.0.2"},
			}
		}},
		"all names": {func(s *Settings) { s.CaptureDNS = true }, func(w podWorld) []flow {
			return []flow{
				{"the application over UDP", w.app(), "udp 10.96.0.10:53", "agent"},
				{"the application over TCP", w.app(), "10.96.0.10:53", "agent 10.96.0.10:53 from 10.244.0.2"},
				{"the application, IPv6", w.app(), "udp [fd00:96::10]:53", "agent"},
				{"a name server in the pod", w.app(), "udp 127.0.0.53:53", "agent"},
				{"a name server in the pod, TCP", w.app(), "127.0.0.53:53", "agent 127.0.0.53:53 from 127.0.0.1"},
				{"the agent", w.proxy(), "udp " + otherIP + ":53", "resolver"},
				{"the agent, IPv6", w.proxy(), "udp [" + otherIP6 + "]:53", "resolver"},
				{"the agent over TCP", w.proxy(), otherIP + ":53", "resolver 10.244.0.3:53 from 10.244.0.2"},
				{"other traffic", w.app(), virtual + ":80", "outbound 10.96.0.7:80 from 10.244.0.2"},
				{"inside the pod", w.app(), podIP + ":8080", "app 10.244.0.2:8080 from 10.244.0.2"},
			}
		}},
		"names of excluded destinations": {func(s *Settings) { s.CaptureDNS, s.ExcludeOutbound = true, otherIP+"/32" }, func(w podWorld) []flow {
			return []flow{
				{"excluded", w.app(), "udp " + otherIP + ":53", "resolver"},
				{"another", w.app(), "udp 10.96.0.10:53", "agent"},
			}
		}},
		"drop invalid, a valid connection": {func(s *Settings) { s.DropInvalid = true }, func(w podWorld) []flow {
			return []flow{{"a valid connection", w.outside(), podIP + ":8080", "inbound 10.244.0.2:8080 from 10.244.0.3"}}
		}},
		"mode NONE": {func(s *Settings) { s.Mode = "NONE" }, func(w podWorld) []flow {
			return []flow{
				{"from outside", w.outside(), podIP + ":8080", "app 10.244.0.2:8080 from 10.244.0.3"},
				{"the application", w.app(), otherIP + ":8080", "other 10.244.0.3:8080 from 10.244.0.2"},
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := captureAll()
			if c.set != nil {
				c.set(&s)
			}
			w := newPodWorld(t, parse(t, s))
			w.servers(t)
			w.check(t, c.flows(w))
		})
	}
}

// at gives the user, calling from a local address.
func (u user) at(addr string) user {
	u.client = netip.MustParseAddr(addr)
	return u
}

// TestResolversOnly: only the traffic of the pod's name servers is captured.
func TestResolversOnly(t *testing.T) {
	needUsers(t)
	s := captureAll()
	s.CaptureDNS = true
	o := parse(t, s)
	o.Resolvers = []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00:96::10")}
	w := newPodWorld(t, o)
	w.servers(t)
	w.check(t, []flow{
		{"the pod's name server", w.app(), "udp 10.96.0.10:53", "agent"},
		{"the pod's name server, IPv6", w.app(), "udp [fd00:96::10]:53", "agent"},
		{"another one", w.app(), "udp " + otherIP + ":53", "resolver"},
	})
}

// TestUninstall: nothing stays, whatever was there.
func TestUninstall(t *testing.T) {
	needUsers(t)
	for _, mode := range []Mode{ModeRedirect, ModeTProxy} {
		s := captureAll()
		s.Mode, s.CaptureDNS = string(mode), true
		o := parse(t, s)
		w := newPodWorld(t, o)
		w.servers(t)
		must(t, w.pod.Do(func() error { return Uninstall(o) }))
		must(t, w.pod.Do(func() error { return Uninstall(o) }))
		if err := w.pod.Do(func() error { return Installed(o) }); err == nil {
			t.Error("rules that were removed are found")
		}
		w.check(t, []flow{
			{"from outside", w.outside(), podIP + ":8080", "app 10.244.0.2:8080 from 10.244.0.3"},
			{"the application", w.app(), otherIP + ":8080", "other 10.244.0.3:8080 from 10.244.0.2"},
			{"names", w.app(), "udp " + otherIP + ":53", "resolver"},
		})
	}
}

// TestZones: the agent asks a name server from the port that an application asked
// it from just before; what the kernel knows of the one is not taken for the other.
func TestZones(t *testing.T) {
	needUsers(t)
	s := captureAll()
	s.CaptureDNS = true
	w := newPodWorld(t, parse(t, s))
	w.servers(t)
	for _, c := range []struct{ local, to string }{
		{podIP + ":5555", otherIP + ":53"},
		{"[" + podIP6 + "]:5555", "[" + otherIP6 + "]:53"},
	} {
		if got := w.app().askFrom(t, c.local, c.to); got != "agent" {
			t.Errorf("%s: the application got %q", c.to, got)
		}
		if got := w.proxy().askFrom(t, c.local, c.to); got != "resolver" {
			t.Errorf("%s: the agent got %q", c.to, got)
		}
	}
}

// TestDropInvalid: a packet of no connection is answered with a reset, or with the
// option not at all.
func TestDropInvalid(t *testing.T) {
	for _, drop := range []bool{false, true} {
		s := captureAll()
		s.DropInvalid = drop
		w := newPodWorld(t, parse(t, s))
		if reset := strayAnswer(t, w.other, otherIP, podIP); reset == drop {
			t.Errorf("dropping %v: answered %v", drop, reset)
		}
	}
}

// strayAnswer sends the second packet of a handshake that nobody began, and tells
// whether a reset comes back.
func strayAnswer(t *testing.T, n *Namespace, from, to string) bool {
	t.Helper()
	src, dst := netip.MustParseAddr(from).As4(), netip.MustParseAddr(to).As4()
	segment := []byte{0x11, 0x5c, 0x1f, 0x90, 0, 0, 0, 1, 0, 0, 0, 1, 5 << 4, 0x12, 0x20, 0, 0, 0, 0, 0} // 4444 to 8080, SYN and ACK
	pseudo := append(append(append([]byte{}, src[:]...), dst[:]...), 0, 6, 0, byte(len(segment)))
	sum := uint32(0)
	for b := append(pseudo, segment...); len(b) > 0; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	segment[16], segment[17] = byte(^sum>>8), byte(^sum)
	var fd int
	must(t, n.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_TCP)
		return err
	}))
	defer unix.Close(fd)
	must(t, unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 300_000}))
	must(t, unix.Sendto(fd, segment, 0, &unix.SockaddrInet4{Addr: dst}))
	b := make([]byte, 100)
	for {
		k, _, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			return false
		}
		if k >= 34 && b[33]&0x04 != 0 { // after an IPv4 header without options
			return true
		}
	}
}
