package intercept

import (
	"fmt"
	"io"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// serveTransparent is the inbound side of a proxy in TPROXY mode: it calls the
// application with the client's address and, before what that answers, says which
// addresses its own connection had.
func serveTransparent(t *testing.T, u user, addr string) {
	t.Helper()
	a := netip.MustParseAddrPort(addr)
	family := unix.AF_INET
	if a.Addr().Is6() {
		family = unix.AF_INET6
	}
	var fd int
	must(t, u.as(func() (err error) {
		if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		if a.Addr().Is6() {
			if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1); err != nil {
				return err
			}
		}
		return transparent(fd, a.Addr())
	}))
	sa := unix.Sockaddr(&unix.SockaddrInet4{Port: int(a.Port())})
	if a.Addr().Is6() {
		sa = &unix.SockaddrInet6{Port: int(a.Port())}
	}
	must(t, unix.Bind(fd, sa))
	must(t, unix.Listen(fd, 16))
	l, err := rawio.Listen(fd)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "inbound %s from %s; ", c.LocalAddr(), c.RemoteAddr().Addr())
			fmt.Fprint(c, passOn(t, u, c))
			c.Close()
		}
	}()
}

func passOn(t *testing.T, u user, c *rawio.Conn) string {
	u.mark, u.client = Mark, c.RemoteAddr().Addr()
	app, err := rawio.Dial(t.Context(), u, u.client, c.LocalAddr(), rawio.DialOptions{Timeout: 2 * time.Second})
	if err != nil {
		return err.Error()
	}
	defer app.Close()
	if err := app.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err.Error()
	}
	b, err := io.ReadAll(readerOf{app})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// TestTransparentFlows: in TPROXY mode the proxy and, if it wants, the
// application see the client's address.
func TestTransparentFlows(t *testing.T) {
	needUsers(t)
	for name, set := range map[string]func(*Settings){
		"all ports": func(*Settings) {},
		"a port":    func(s *Settings) { s.Inbound = "8080" },
	} {
		t.Run(name, func(t *testing.T) {
			s := captureAll()
			s.Mode, s.CaptureDNS, s.ExcludeInterfaces = "TPROXY", true, "net1"
			set(&s)
			w := newPodWorld(t, parse(t, s))
			proxy := user{n: w.pod, uid: 0, gid: proxyUser} // it needs NET_ADMIN, so that it is root
			serveTransparent(t, proxy, "0.0.0.0:15006")
			serveTransparent(t, proxy, "[::]:15006")
			serve(t, w.pod, "[::]:15001", "outbound")
			serve(t, w.pod, "[::]:8080", "app")
			serve(t, w.pod, "[::]:15021", "ready")
			serve(t, w.other, "[::]:8080", "other")
			answer(t, proxy, "127.0.0.1:15053", "agent")
			answer(t, w.outside(), otherIP+":53", "resolver")
			w.check(t, []flow{
				{"from outside", w.outside(), podIP + ":8080", "inbound 10.244.0.2:8080 from 10.244.0.3; app 10.244.0.2:8080 from 10.244.0.3"},
				{"from outside, IPv6", w.outside(), "[" + podIP6 + "]:8080", "inbound [fd00::2]:8080 from fd00::3; app [fd00::2]:8080 from fd00::3"},
				{"excluded port", w.outside(), podIP + ":15021", "ready 10.244.0.2:15021 from 10.244.0.3"},
				{"excluded interface", w.outside(), podNet1 + ":8080", "app 10.245.0.2:8080 from 10.245.0.3"},
				{"the application to a service", w.app(), virtual + ":9080", "outbound 10.96.0.7:9080 from 10.244.0.2"},
				{"the application to itself", w.app(), podIP + ":8080", "app 10.244.0.2:8080 from 10.244.0.2"},
				{"the application by loopback", w.app(), "127.0.0.1:8080", "app 127.0.0.1:8080 from 127.0.0.1"},
				{"the proxy to another pod", proxy, otherIP + ":8080", "other 10.244.0.3:8080 from 10.244.0.2"},
				{"the proxy to its own pod", proxy, podIP + ":8080", "inbound 10.244.0.2:8080 from 10.244.0.2; app 10.244.0.2:8080 from 10.244.0.2"},
				{"the proxy to its own pod, IPv6", proxy, "[" + podIP6 + "]:8080", "inbound [fd00::2]:8080 from fd00::2; app [fd00::2]:8080 from fd00::2"},
				{"the proxy passes a call on from its own address", proxy.at("127.0.0.6"), podIP + ":8080", "app 10.244.0.2:8080 from 127.0.0.6"},
				{"names", w.app(), "udp 10.96.0.10:53", "agent"},
				{"the agent's names", proxy, "udp " + otherIP + ":53", "resolver"},
			})
		})
	}
}

// TestTransparentWithoutProxy: what the proxy should get does not reach the
// application while the proxy is away.
func TestTransparentWithoutProxy(t *testing.T) {
	needUsers(t)
	s := captureAll()
	s.Mode = "TPROXY"
	w := newPodWorld(t, parse(t, s))
	serve(t, w.pod, "[::]:8080", "app")
	for _, to := range []string{podIP + ":8080", "[" + podIP6 + "]:8080"} {
		if got := w.outside().call(t, to); !strings.Contains(got, "timeout") && !strings.Contains(got, "deadline") {
			t.Errorf("%s: got %q", to, got)
		}
	}
}
