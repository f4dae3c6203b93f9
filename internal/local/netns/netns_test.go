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
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/intercept"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// TestMain runs the tests a second time inside a user namespace, as for an
// ordinary user.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && os.Getenv("LATEEN_TEST_USERNS") == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), "LATEEN_TEST_USERNS=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}}
		switch err := cmd.Run(); {
		case errors.Is(err, os.ErrPermission):
			fmt.Println("user namespaces are forbidden here: the tests ran only as", os.Getuid())
		case err != nil:
			fmt.Println("in a user namespace:", err)
			code = 1
		}
	}
	os.Exit(code)
}

func newNetwork(t *testing.T, c Config) *Network {
	t.Helper()
	n, err := New(c, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if errors.Is(err, unix.EPERM) {
		t.Skip("network namespaces are forbidden here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func add(t *testing.T, n *Network) *Place {
	t.Helper()
	p, err := n.Add(&intercept.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// greet answers every connection to the listening descriptors with a name.
func greet(t *testing.T, name string, fds ...int) {
	t.Helper()
	for _, fd := range fds {
		l, err := rawio.Listen(fd)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, name)
				c.Close()
			}
		}()
	}
}

func read(c io.ReadCloser, err error) string {
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	text, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (s Sockets) call(t *testing.T, addr string) string {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	return read(rawio.Dial(ctx, s, netip.Addr{}, netip.MustParseAddrPort(addr), rawio.DialOptions{}))
}

// TestSockets: a proxy's sockets lie where they should.
func TestSockets(t *testing.T) {
	n := newNetwork(t, Config{})
	a, b := add(t, n), add(t, n)
	listen := func(s rawio.Sockets, addr, name string) {
		fds, err := s.Listen(netip.MustParseAddrPort(addr))
		if err != nil {
			t.Fatal(err)
		}
		greet(t, name, fds...)
	}
	listen(b.Sockets(nil), "0.0.0.0:15006", "b-inbound")
	listen(a.Sockets(nil), "127.0.0.1:7000", "a-app")
	if got := a.Sockets(nil).call(t, b.Addr.String()+":80"); got != "b-inbound" {
		t.Errorf("to another workload: %q", got)
	}
	if got := a.Sockets(nil).call(t, "127.0.0.1:7000"); got != "a-app" {
		t.Errorf("to the own application: %q", got)
	}
	// An address of the host that is not loopback: from our proxies directly,
	// from anything else by the relay.
	host := hostAddr(t)
	fds, err := rawio.HostSockets{}.Listen(netip.AddrPortFrom(host, 0))
	if err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	outside := netip.AddrPortFrom(host, uint16(sa.(*unix.SockaddrInet4).Port)).String()
	greet(t, "outside", fds...)
	if got := a.Sockets(nil).call(t, outside); got != "outside" {
		t.Errorf("to the outside: %q", got)
	}
	relayed := Sockets{Inside: a.Namespace, Mesh: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}}
	if got := relayed.call(t, outside); got != "outside" {
		t.Errorf("to the outside by the relay: %q", got)
	}
	start := time.Now()
	if got := relayed.call(t, "10.96.200.200:80"); got == "outside" || time.Since(start) > time.Second {
		t.Errorf("a virtual address that nobody has: %q after %v", got, time.Since(start))
	}
}

// TestVirtualAddress: a workload without a proxy reaches a service's endpoint.
func TestVirtualAddress(t *testing.T) {
	n := newNetwork(t, Config{})
	a, b := add(t, n), add(t, n)
	fds, err := b.Sockets(nil).Listen(netip.MustParseAddrPort("0.0.0.0:15006"))
	if err != nil {
		t.Fatal(err)
	}
	greet(t, "b-inbound", fds...)
	n.SetServices(func(dst netip.AddrPort) (netip.AddrPort, bool) {
		return netip.AddrPortFrom(b.Addr, 8080), dst == netip.MustParseAddrPort("10.96.0.7:80")
	})
	if got := a.Sockets(nil).call(t, "10.96.0.7:80"); got != "b-inbound" {
		t.Errorf("got %q", got)
	}
	if got := a.Sockets(nil).call(t, "10.96.0.7:81"); got == "b-inbound" {
		t.Error("another port is served too")
	}
}

// hostAddr gives an address of the host that a workload may reach, or skips.
func hostAddr(t *testing.T) netip.Addr {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() {
			return p.Addr()
		}
	}
	t.Skip("the host has no address besides loopback")
	return netip.Addr{}
}

// TestHostPorts: a reserved port refuses callers until a gateway listens, keeps
// others away, and may be handed from one gateway to the next.
func TestHostPorts(t *testing.T) {
	n := newNetwork(t, Config{})
	gateway := add(t, n)
	h := NewHostPorts()
	defer h.Close()
	addr, err := h.Reserve(8080, 0)
	if err != nil {
		t.Fatal(err)
	}
	dial := func() string {
		c, err := net.DialTimeout("tcp", addr.String(), time.Second)
		return read(c, err)
	}
	if got := dial(); !strings.Contains(got, "refused") {
		t.Errorf("before a gateway listens: %q", got)
	}
	if l, err := net.Listen("tcp", addr.String()); err == nil {
		l.Close()
		t.Error("another program could take the reserved port")
	}
	other := NewHostPorts()
	defer other.Close()
	if next, err := other.Reserve(8080, addr.Port()); err != nil || next.Port() == addr.Port() {
		t.Errorf("a second mesh got %v, %v", next, err)
	}
	sockets := gateway.Sockets(h)
	fds, err := sockets.Listen(netip.MustParseAddrPort("0.0.0.0:8080"))
	if err != nil || len(fds) != 2 {
		t.Fatalf("%d sockets, %v", len(fds), err)
	}
	again, ok, err := h.listen(8080) // the gateway that follows
	if err != nil || !ok {
		t.Fatalf("a second gateway: %v %v", ok, err)
	}
	unix.Close(again)
	greet(t, "gateway", fds...)
	if got := dial(); got != "gateway" {
		t.Errorf("from the host: %q", got)
	}
	if fds, err := sockets.Listen(netip.MustParseAddrPort("0.0.0.0:9090")); err != nil || len(fds) != 1 {
		t.Errorf("a port that is not exposed has %d sockets, %v", len(fds), err)
	} else {
		unix.Close(fds[0])
	}
}

// TestExpose: the relay from the host to a gateway.
func TestExpose(t *testing.T) {
	n := newNetwork(t, Config{})
	gateway := add(t, n)
	h := NewHostPorts()
	defer h.Close()
	addr, err := h.Reserve(8080, 0)
	if err != nil {
		t.Fatal(err)
	}
	fds, err := gateway.Sockets(nil).Listen(netip.MustParseAddrPort("0.0.0.0:15021")) // a port that is not redirected
	if err != nil {
		t.Fatal(err)
	}
	greet(t, "gateway", fds...)
	h.ports[15021] = h.ports[8080]
	delete(h.ports, 8080)
	r, err := n.Expose(h, 15021, gateway.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, err := net.DialTimeout("tcp", addr.String(), time.Second)
	if got := read(c, err); got != "gateway" {
		t.Errorf("got %q", got)
	}
}

// TestAddresses: they are handed out in turn, given back, and may run out.
func TestAddresses(t *testing.T) {
	n := newNetwork(t, Config{Pods: netip.MustParsePrefix("10.9.0.0/29")})
	var places []*Place
	for range 5 { // .2 to .6
		p, err := n.Add(&intercept.Options{})
		if err != nil {
			t.Fatal(err)
		}
		places = append(places, p)
	}
	if _, err := n.Add(&intercept.Options{}); err == nil || !strings.Contains(err.Error(), "no address is left") {
		t.Errorf("one too many: %v", err)
	}
	freed := places[1].Addr
	if err := places[1].Close(); err != nil {
		t.Fatal(err)
	}
	p, err := n.Add(&intercept.Options{})
	if err != nil || p.Addr != freed {
		t.Fatalf("got %v, %v", p, err)
	}
	places[1] = p
	for _, p := range places {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestConfigCheck(t *testing.T) {
	for _, c := range []Config{
		{Pods: netip.MustParsePrefix("10.0.0.0/8")},
		{Pods: netip.MustParsePrefix("fd00::/64")},
		{Pods: netip.MustParsePrefix("10.1.0.0/30")},
	} {
		if _, err := New(c, nil); err == nil {
			t.Errorf("%v is accepted", c)
		}
	}
}

func TestAdvice(t *testing.T) {
	for _, c := range []struct{ file, value, want string }{
		{"kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"},
		{"kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"},
		{"user/max_user_namespaces", "0", "user.max_user_namespaces=15000"},
		{"", "", "user.max_user_namespaces"},
	} {
		got := advice(func(name string) (string, bool) { return c.value, name == c.file })
		if !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s=%s: %s", c.file, c.value, got)
		}
	}
	if err := Explain(io.EOF); err != io.EOF {
		t.Error("another error is explained")
	}
}
