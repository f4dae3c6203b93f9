package intercept

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestMain runs the tests a second time as an ordinary user would: inside a user
// namespace of its own, where uid 0 is nobody outside.
func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if code == 0 && os.Getenv("LATEEN_TEST_USERNS") == "" && flag.Lookup("test.fuzz").Value.String() == "" {
		cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
		cmd.Env = append(os.Environ(), "LATEEN_TEST_USERNS=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL,
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

func TestRulesText(t *testing.T) {
	got := Rules(Options{
		Local: netip.MustParseAddr("10.244.0.5"), ExcludeInbound: []uint16{22}, ExcludeOutbound: []uint16{25},
		ExcludeCIDRs: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16")},
	}).String() + Rules(Options{
		IncludeInbound: []uint16{8080}, IncludeCIDRs: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, NoDNS: true,
	}).String() + Rules(Options{DNSOnly: true}).String() + RelayRules([]netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}, 15123).String()
	const file = "testdata/rules.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("rules differ from %s:\n%s", file, got)
	}
}

// world is a hub and two workloads.
type world struct{ hub, a, b *Namespace }

var (
	addrA = netip.MustParseAddr("10.244.0.2")
	addrB = netip.MustParseAddr("10.244.0.3")
	hubIP = netip.MustParsePrefix("10.244.0.1/16")
)

func newWorld(t *testing.T) world {
	t.Helper()
	ns := func() *Namespace {
		n, err := NewNamespace()
		if errors.Is(err, unix.EPERM) {
			t.Skip("network namespaces are forbidden here")
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { n.Close() })
		return n
	}
	w := world{ns(), ns(), ns()}
	must(t, w.hub.Do(func() error { return AddBridge("br0", hubIP) }))
	for i, n := range []*Namespace{w.a, w.b} {
		must(t, w.hub.Do(func() error { return AddVeth(fmt.Sprintf("v%d", i), "br0", "eth0", n) }))
		must(t, n.Do(func() error {
			return Address("eth0", netip.PrefixFrom([]netip.Addr{addrA, addrB}[i], 16), hubIP.Addr())
		}))
	}
	return w
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve answers every connection to addr in n with its name and the original
// destination.
func serve(t *testing.T, n *Namespace, addr, name string) {
	t.Helper()
	fds, err := n.Sockets().Listen(netip.MustParseAddrPort(addr))
	must(t, err)
	l, err := rawio.Listen(fds[0])
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dst, err := c.OriginalDst()
			if err != nil {
				dst = c.LocalAddr()
			}
			fmt.Fprintf(c, "%s %s from %s", name, dst, c.RemoteAddr().Addr())
			c.Close()
		}
	}()
}

// call connects from n as an application would, or with the proxy's mark.
func call(n *Namespace, addr string, marked bool) string {
	sockets := n.Sockets()
	if !marked {
		sockets = unmarked{n}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	c, err := rawio.Dial(ctx, sockets, netip.Addr{}, netip.MustParseAddrPort(addr), rawio.DialOptions{})
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	b, err := io.ReadAll(readerOf{c})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

type readerOf struct{ c *rawio.Conn }

func (r readerOf) Read(p []byte) (int, error) { return r.c.Read(p) }

type unmarked struct{ n *Namespace }

func (u unmarked) Listen(netip.AddrPort) ([]int, error) { return nil, errors.ErrUnsupported }
func (u unmarked) Dial(remote netip.AddrPort) (fd int, err error) {
	err = u.n.Do(func() error {
		fd, err = rawio.HostSockets{}.Dial(remote)
		return err
	})
	return fd, err
}

func TestRedirection(t *testing.T) {
	w := newWorld(t)
	serve(t, w.a, "0.0.0.0:15001", "a-outbound")
	serve(t, w.a, "127.0.0.1:7000", "a-loopback")
	serve(t, w.b, "0.0.0.0:15006", "b-inbound")
	serve(t, w.b, "0.0.0.0:8080", "b-app")
	serve(t, w.b, "0.0.0.0:2222", "b-excluded")
	serve(t, w.b, "0.0.0.0:15001", "b-outbound")
	serve(t, w.b, "0.0.0.0:15021", "b-ready")
	rules := map[*Namespace]Table{
		w.a: Rules(Options{Local: addrA, ExcludeOutbound: []uint16{2222}}),
		w.b: Rules(Options{Local: addrB, ExcludeInbound: []uint16{2222}}),
	}
	for n, table := range rules {
		must(t, n.Do(func() error { return Apply(table) }))
		must(t, n.Do(func() error { return Apply(table) })) // again: replaces
		must(t, n.Do(func() error { return Verify(table) }))
	}
	for _, c := range []struct {
		what   string
		n      *Namespace
		to     string
		marked bool
		want   string
	}{
		{"an application's call to a virtual address", w.a, "10.96.0.7:9080", false, "a-outbound 10.96.0.7:9080 from 10.244.0.2"},
		{"an application's call to the outside", w.a, "192.0.2.1:80", false, "a-outbound 192.0.2.1:80 from 10.244.0.2"},
		{"inside the workload", w.a, "127.0.0.1:7000", false, "a-loopback 127.0.0.1:7000 from 127.0.0.1"},
		{"the proxy's call to another workload", w.a, "10.244.0.3:8080", true, "b-inbound 10.244.0.3:8080 from 10.244.0.2"},
		{"an excluded outbound and inbound port", w.a, "10.244.0.3:2222", false, "b-excluded 10.244.0.3:2222 from 10.244.0.2"},
		{"the readiness port", w.a, "10.244.0.3:15021", true, "b-ready 10.244.0.3:15021 from 10.244.0.2"},
		{"the proxy's call to its own workload", w.b, "10.244.0.3:8080", true, "b-inbound 10.244.0.3:8080 from 10.244.0.3"},
		{"an application's call to its own address", w.b, "10.244.0.3:8080", false, "b-app 10.244.0.3:8080 from 10.244.0.3"},
	} {
		if got := call(c.n, c.to, c.marked); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
	must(t, w.a.Do(Remove))
	if err := w.a.Do(func() error { return Verify(rules[w.a]) }); err == nil {
		t.Error("Verify finds rules that were removed")
	}
}

// TestProxyReachesItsApplication: the inbound call from 127.0.0.6 is not
// redirected again.
func TestProxyReachesItsApplication(t *testing.T) {
	w := newWorld(t)
	serve(t, w.b, "0.0.0.0:15006", "b-inbound")
	serve(t, w.b, "0.0.0.0:8080", "b-app")
	must(t, w.b.Do(func() error { return Apply(Rules(Options{Local: addrB})) }))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	c, err := rawio.Dial(ctx, w.b.Sockets(), netip.MustParseAddr("127.0.0.6"), netip.AddrPortFrom(addrB, 8080), rawio.DialOptions{})
	must(t, err)
	defer c.Close()
	got, err := io.ReadAll(readerOf{c})
	must(t, err)
	if !strings.HasPrefix(string(got), "b-app") || !strings.HasSuffix(string(got), "from 127.0.0.6") {
		t.Errorf("got %q", got)
	}
}

// TestRelay: what leaves the mesh arrives at the hub's relay with its original
// destination.
func TestRelay(t *testing.T) {
	w := newWorld(t)
	serve(t, w.hub, "0.0.0.0:15123", "relay")
	must(t, w.hub.Do(func() error { return Apply(RelayRules([]netip.Prefix{hubIP.Masked()}, 15123)) }))
	if got := call(w.a, "192.0.2.1:443", false); got != "relay 192.0.2.1:443 from 10.244.0.2" {
		t.Errorf("got %q", got)
	}
}

// TestChildInNamespace: a process starts in the namespace, and a closed
// namespace refuses work.
func TestChildInNamespace(t *testing.T) {
	w := newWorld(t)
	cmd := exec.Command("cat", "/proc/self/net/dev")
	var out strings.Builder
	cmd.Stdout = &out
	must(t, w.a.Start(cmd))
	must(t, cmd.Wait())
	if !strings.Contains(out.String(), "eth0") {
		t.Errorf("the child does not see eth0:\n%s", out.String())
	}
	host, err := net.Interfaces()
	must(t, err)
	for _, i := range host {
		if i.Name == "br0" {
			t.Error("the hub's bridge is in the host's namespace")
		}
	}
	must(t, w.b.Close())
	if err := w.b.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("a closed namespace works: %v", err)
	}
}
