package intercept

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// captureAll is what an injected pod asks for.
func captureAll() Settings {
	s := Defaults()
	s.Inbound, s.Outbound, s.ExcludeInbound = "*", "*", "15090,15021,15020"
	return s
}

func parse(t *testing.T, s Settings) PodOptions {
	t.Helper()
	o, err := s.Parse()
	must(t, err)
	return o
}

// TestPodRulesText: the rules of every option, as text.
func TestPodRulesText(t *testing.T) {
	resolvers := []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00::10")}
	for name, set := range map[string]func(*Settings){
		"nothing":            func(s *Settings) { *s = Defaults() },
		"everything":         func(s *Settings) {},
		"ports":              func(s *Settings) { s.OutboundPort, s.InboundPort, s.TunnelPort = "1", "2", "3" },
		"users":              func(s *Settings) { s.UIDs, s.GIDs = "1000,1001", "2000" },
		"inbound-ports":      func(s *Settings) { s.Inbound = "80,443" },
		"inbound-none":       func(s *Settings) { s.Inbound = "" },
		"exclude-inbound":    func(s *Settings) { s.ExcludeInbound = "22, 23" },
		"outbound-ranges":    func(s *Settings) { s.Outbound = "10.0.0.0/8,fd00::/8" },
		"outbound-loopback":  func(s *Settings) { s.Outbound = "127.0.0.0/8" },
		"exclude-ranges":     func(s *Settings) { s.ExcludeOutbound = "169.254.0.0/16,fe80::/10" },
		"include-ports":      func(s *Settings) { s.Outbound, s.IncludeOutboundPorts = "", "80,443" },
		"exclude-ports":      func(s *Settings) { s.ExcludeOutboundPorts = "25" },
		"exclude-interfaces": func(s *Settings) { s.ExcludeInterfaces = "net1,net2" },
		"virtual-interfaces": func(s *Settings) {
			s.RerouteInterfaces, s.ExcludeOutbound, s.ExcludeOutboundPorts = "k6t-0", "9.9.0.0/16", "25"
		},
		"include-groups":       func(s *Settings) { s.GroupsInclude = "200,201" },
		"exclude-groups":       func(s *Settings) { s.GroupsExclude = "200,201" },
		"drop-invalid":         func(s *Settings) { s.DropInvalid = true },
		"loopback":             func(s *Settings) { s.Loopback = "127.0.0.0/8" },
		"names":                func(s *Settings) { s.CaptureDNS = true },
		"names-resolvers":      func(s *Settings) { s.CaptureDNS = true },
		"tproxy":               func(s *Settings) { s.Mode, s.ExcludeInterfaces = "TPROXY", "net1" },
		"tproxy-inbound-ports": func(s *Settings) { s.Mode, s.Inbound, s.Mark = "TPROXY", "80,443", "7" },
		"tproxy-inbound-none":  func(s *Settings) { s.Mode, s.Inbound = "TPROXY", "" },
		"none":                 func(s *Settings) { s.Mode = "NONE" },
	} {
		t.Run(name, func(t *testing.T) {
			s := captureAll()
			set(&s)
			o := parse(t, s)
			if name == "names-resolvers" {
				o.Resolvers = resolvers
			}
			text := PodRules(o).String()
			golden(t, "testdata/pod/"+name+".txt", text)
			nftAccepts(t, text)
		})
	}
}

// nftAccepts checks the text with the real nft, where there is one.
func nftAccepts(t *testing.T, text string) {
	t.Helper()
	nft, err := exec.LookPath("nft")
	if err != nil {
		t.Logf("the syntax is not checked: %v", err)
		return
	}
	n, err := NewNamespace()
	if errors.Is(err, unix.EPERM) {
		t.Skip("network namespaces are forbidden here")
	}
	must(t, err)
	defer n.Close()
	var out strings.Builder
	cmd := exec.Command(nft, "-c", "-f", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(text), &out, &out
	must(t, n.Start(cmd))
	if err := cmd.Wait(); err != nil {
		t.Errorf("nft: %v\n%s", err, &out)
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		must(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	must(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

func TestSettingsErrors(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*Settings)
		want string
	}{
		"mode":       {func(s *Settings) { s.Mode = "tproxy" }, `interception mode: "tproxy" is none of REDIRECT, TPROXY, NONE`},
		"port":       {func(s *Settings) { s.OutboundPort = "0" }, `outbound port: "0" is not a port`},
		"port list":  {func(s *Settings) { s.Inbound = "80,http" }, `inbound ports: "http" is not a port`},
		"star":       {func(s *Settings) { s.ExcludeInbound = "*" }, `excluded inbound ports: "*" is not a port`},
		"range":      {func(s *Settings) { s.Outbound = "10.0.0.1" }, `outbound ranges: "10.0.0.1" is not a range of addresses (CIDR)`},
		"exclude":    {func(s *Settings) { s.ExcludeOutbound = "*" }, `excluded outbound ranges: "*" is not a range of addresses (CIDR)`},
		"mapped":     {func(s *Settings) { s.Outbound = "::ffff:10.0.0.0/104" }, `outbound ranges: "::ffff:10.0.0.0/104" is an IPv4 address in IPv6 form`},
		"user":       {func(s *Settings) { s.GIDs = "proxy" }, `proxy's group ids: "proxy" is not the number of a user or group`},
		"nobody":     {func(s *Settings) { s.UIDs = "" }, `proxy's user ids: there are none: the proxy's own traffic would be redirected to it`},
		"interface":  {func(s *Settings) { s.ExcludeInterfaces = "a/b" }, `excluded interfaces: "a/b" is not the name of an interface`},
		"groups":     {func(s *Settings) { s.GroupsInclude, s.GroupsExclude = "1", "2" }, `owner groups: groups are both included and excluded: only one is possible`},
		"group name": {func(s *Settings) { s.GroupsInclude = "java" }, `owner groups: "java" is not the number of a user or group`},
		"all groups": {func(s *Settings) { s.GroupsInclude = "*,5" }, `owner groups: "*,5" names groups beside *`},
		"mark":       {func(s *Settings) { s.Mark = "1338" }, `mark: "1338" is not a mark (a number, not 0 and not 1338)`},
		"table":      {func(s *Settings) { s.RouteTable = "254" }, `routing table: "254" is not the number of a routing table of its own`},
		"loopback":   {func(s *Settings) { s.Loopback = "::1/128" }, `IPv4 loopback range: "::1/128" is not a range of IPv4 addresses`},
	} {
		t.Run(name, func(t *testing.T) {
			s := captureAll()
			c.set(&s)
			_, err := s.Parse()
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("REDIRECT", "80,443", "10.0.0.0/8", "1,2", "eth0")
	f.Fuzz(func(t *testing.T, mode, ports, ranges, ids, interfaces string) {
		s := captureAll()
		s.Mode, s.Inbound, s.ExcludeInbound, s.ExcludeOutboundPorts = mode, ports, ports, ports
		s.Outbound, s.ExcludeOutbound, s.UIDs, s.GroupsExclude, s.ExcludeInterfaces = ranges, ranges, ids, ids, interfaces
		o, err := s.Parse()
		if err != nil {
			return
		}
		for _, table := range PodRules(o) {
			for _, c := range table.Chains {
				for _, r := range c.Rules {
					if len(r.expressions(table.Family, c.Hook)) == 0 {
						t.Errorf("a rule without expressions: %+v", r)
					}
				}
			}
		}
	})
}

// podWorld is a pod and a host beside it, with two networks between them: eth0
// with both address families, and net1.
type podWorld struct{ pod, other *Namespace }

const (
	podIP, otherIP   = "10.244.0.2", "10.244.0.3"
	podIP6, otherIP6 = "fd00::2", "fd00::3"
	podNet1, other1  = "10.245.0.2", "10.245.0.3"
	virtual          = "10.96.0.7" // a service's address: nobody has it
	virtual6         = "fd00:96::7"
	proxyUser        = 1337
	appUser          = 1000
)

func newPodWorld(t *testing.T, o PodOptions) podWorld {
	t.Helper()
	w := newWorld(t)
	p := podWorld{w.a, w.b}
	must(t, w.hub.Do(func() error { return AddBridge("br1", netip.MustParsePrefix("10.245.0.1/24")) }))
	for i, n := range []*Namespace{p.pod, p.other} {
		must(t, w.hub.Do(func() error { return AddVeth(fmt.Sprintf("w%d", i), "br1", "net1", n) }))
		must(t, n.Do(func() error {
			if err := withNetlink(func(h *netlink.Handle) error {
				return setUp(h, "net1", netip.PrefixFrom(netip.MustParseAddr([]string{podNet1, other1}[i]), 24))
			}); err != nil {
				return err
			}
			return address6("eth0", []string{podIP6, otherIP6}[i])
		}))
	}
	must(t, p.pod.Do(func() error { return Install(o) }))
	must(t, p.pod.Do(func() error { return Install(o) })) // again: replaces
	must(t, p.pod.Do(func() error { return Installed(o) }))
	return p
}

// address6 gives an interface an IPv6 address that is of use at once, and the
// default route over the other host.
func address6(name, addr string) error {
	return withNetlink(func(h *netlink.Handle) error {
		l, err := h.LinkByName(name)
		if err != nil {
			return err
		}
		a := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(netip.MustParseAddr(addr), 64)), Flags: unix.IFA_F_NODAD}
		if err := h.AddrAdd(l, a); err != nil {
			return err
		}
		all := ipNet(netip.MustParsePrefix("::/0"))
		return h.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: all, Gw: net.ParseIP("fd00::9")})
	})
}

// user makes sockets of a user, in a namespace.
type user struct {
	n        *Namespace
	uid, gid int
	mark     int
	client   netip.Addr // transparent: the address to come from
}

func (u user) Listen(netip.AddrPort) ([]int, error) { return nil, fmt.Errorf("not a server") }

func (u user) Dial(remote netip.AddrPort) (fd int, err error) {
	err = u.as(func() error {
		fd, err = rawio.HostSockets{}.Dial(remote)
		return err
	})
	if err == nil && u.mark != 0 {
		err = u.n.Do(func() error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, u.mark) })
	}
	if err == nil && u.client.IsValid() {
		err = u.n.Do(func() error { return transparent(fd, u.client) })
	}
	return fd, err
}

// as runs f with the user's identity for files, which is what the kernel tells
// sockets' owners by.
func (u user) as(f func() error) error {
	return u.n.Do(func() error {
		unix.SetfsgidRetGid(u.gid)
		unix.SetfsuidRetUid(u.uid)
		defer unix.SetfsgidRetGid(0)
		defer unix.SetfsuidRetUid(0)
		if now, err := unix.SetfsuidRetUid(-1); err != nil || now != u.uid {
			return fmt.Errorf("cannot be user %d: %v", u.uid, err)
		}
		return f()
	})
}

func transparent(fd int, a netip.Addr) error {
	if a.Is4() {
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
	}
	return unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
}

// flow is one connection and where it must arrive.
type flow struct {
	what string
	from any // *Namespace: a user there; user
	to   string
	want string
}

func (w podWorld) app() user   { return user{n: w.pod, uid: appUser, gid: appUser} }
func (w podWorld) proxy() user { return user{n: w.pod, uid: proxyUser, gid: proxyUser} }
func (w podWorld) outside() user {
	return user{n: w.other, uid: appUser, gid: appUser}
}

func (u user) call(t *testing.T, to string) string {
	t.Helper()
	local := netip.Addr{}
	if u.client.IsValid() {
		local = u.client
	}
	c, err := rawio.Dial(t.Context(), u, local, netip.MustParseAddrPort(to), rawio.DialOptions{Timeout: 2 * time.Second})
	if err != nil {
		if strings.Contains(err.Error(), "connection refused") {
			return "refused"
		}
		return err.Error()
	}
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(3*time.Second)))
	b, err := io.ReadAll(readerOf{c})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// ask sends a UDP packet and gives the answer.
func (u user) ask(t *testing.T, to string) string {
	t.Helper()
	return u.askFrom(t, "", to)
}

func (u user) askFrom(t *testing.T, from, to string) string {
	t.Helper()
	var d net.Dialer
	if from != "" {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.MustParseAddrPort(from))
	}
	var c net.Conn
	must(t, u.as(func() (err error) {
		c, err = d.Dial("udp", to)
		return err
	}))
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(2*time.Second)))
	fmt.Fprint(c, "?")
	b := make([]byte, 100)
	n, err := c.Read(b)
	switch {
	case err != nil && strings.Contains(err.Error(), "connection refused"):
		return "refused"
	case err != nil:
		return err.Error()
	}
	return string(b[:n])
}

// answer answers UDP packets at addr in n, as the user.
func answer(t *testing.T, u user, addr, name string) {
	t.Helper()
	var c net.PacketConn
	must(t, u.as(func() (err error) {
		c, err = net.ListenPacket("udp", addr)
		return err
	}))
	t.Cleanup(func() { c.Close() })
	go func() {
		b := make([]byte, 100)
		for {
			_, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			fmt.Fprintf(writerTo{c, from}, "%s", name)
		}
	}()
}

type writerTo struct {
	c  net.PacketConn
	to net.Addr
}

func (w writerTo) Write(p []byte) (int, error) { return w.c.WriteTo(p, w.to) }

// needUsers skips where only one user exists: in a user namespace of an ordinary
// user.
func needUsers(t *testing.T) {
	t.Helper()
	if os.Getenv("LATEEN_TEST_USERNS") != "" || os.Getuid() != 0 {
		t.Skip("only one user exists here")
	}
}

// servers starts the proxy's listeners and the application in the pod, and an
// application outside.
func (w podWorld) servers(t *testing.T) {
	t.Helper()
	serve(t, w.pod, "[::]:15001", "outbound")
	serve(t, w.pod, "[::]:15006", "inbound")
	serve(t, w.pod, "[::]:8080", "app")
	serve(t, w.pod, "[::]:2222", "app")
	serve(t, w.pod, "[::]:15021", "ready")
	serve(t, w.other, "[::]:8080", "other")
	serve(t, w.other, "[::]:2222", "other")
	serve(t, w.pod, "127.0.0.1:15053", "agent")
	serve(t, w.other, "0.0.0.0:53", "resolver")
	answer(t, w.proxy(), "127.0.0.1:15053", "agent")
	answer(t, w.proxy(), "[::1]:15053", "agent")
	answer(t, w.outside(), otherIP+":53", "resolver")
	answer(t, w.outside(), "["+otherIP6+"]:53", "resolver")
}

func (w podWorld) check(t *testing.T, flows []flow) {
	t.Helper()
	for _, f := range flows {
		u := f.from.(user)
		to, isUDP := strings.CutPrefix(f.to, "udp ")
		got := ""
		if isUDP {
			got = u.ask(t, to)
		} else {
			got = u.call(t, to)
		}
		if got != f.want {
			t.Errorf("%s: to %s: got %q, want %q", f.what, f.to, got, f.want)
		}
	}
}
