package command

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/intercept"
)

func run(env map[string]string, args ...string) (out string, err error) {
	var o, e bytes.Buffer
	err = Run(context.Background(), &o, &e, func(name string) string { return env[name] }, args)
	return o.String(), err
}

// TestFlags: long and short names, the environment, and what comes first.
func TestFlags(t *testing.T) {
	long, err := run(nil, "--envoy-port=1", "--inbound-capture-port", "2", "--inbound-tunnel-port=3", "--proxy-uid=4", "--proxy-gid=5",
		"--istio-inbound-interception-mode=TPROXY", "--istio-inbound-ports=6", "--istio-local-exclude-ports=7", "--istio-exclude-interfaces=eth8",
		"--istio-service-cidr=9.0.0.0/8", "--istio-service-exclude-cidr=10.0.0.0/8", "--istio-outbound-ports=11", "--istio-local-outbound-ports-exclude=12",
		"--kube-virt-interfaces=eth13", "--istio-inbound-tproxy-mark=14", "--istio-inbound-tproxy-route-table=15", "--redirect-dns", "--capture-all-dns",
		"--drop-invalid", "--outbound-owner-groups-exclude=16", "--dry-run")
	if err != nil {
		t.Fatal(err)
	}
	short, err := run(map[string]string{"ISTIO_META_DNS_CAPTURE": "true", "CAPTURE_ALL_DNS": "true", "INVALID_DROP": "true", "ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE": "16", "ENVOY_PORT": "99"},
		"-p", "1", "-z", "2", "-e", "3", "-u", "4", "-g", "5", "-m", "TPROXY", "-b", "6", "-d", "7", "-c", "eth8", "-i", "9.0.0.0/8", "-x", "10.0.0.0/8",
		"-q", "11", "-o", "12", "-k", "eth13", "-t", "14", "-r", "15", "-n", "--force-apply", "--reconcile", "--dual-stack", "--force-iptables-binary=legacy")
	if err != nil {
		t.Fatal(err)
	}
	if long != short {
		t.Errorf("long names give\n%s\nshort names give\n%s", long, short)
	}
	for _, want := range []string{"redirect to :1 ", "tproxy to :2 ", "tcp dport 3 ", "skuid 4 ", "skgid 5 ", "tcp dport 6 ", `"eth8"`, "9.0.0.0/8", "10.0.0.0/8", "tcp dport 11 ",
		"tcp dport 12 ", "udp dport 12 ", `"eth13"`, "mark 14", "lookup 15", "udp dport 53", "ct state invalid", "skgid 16 "} {
		if !strings.Contains(long, want) {
			t.Errorf("no %q in\n%s", want, long)
		}
	}
}

func TestErrors(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		args []string
		want string
	}{
		{nil, []string{"--no-such-flag"}, "flag provided but not defined: -no-such-flag"},
		{nil, []string{"-b", "http"}, `inbound ports: "http" is not a port`},
		{nil, []string{"-x", "*"}, `excluded outbound ranges: "*" is not a range of addresses (CIDR)`},
		{nil, []string{"now"}, `unexpected argument "now"`},
		{map[string]string{"INVALID_DROP": "perhaps"}, nil, `environment variable INVALID_DROP: "perhaps": strconv.ParseBool: parsing "perhaps": invalid syntax`},
	} {
		if out, err := run(c.env, c.args...); err == nil || err.Error() != c.want || out != "" {
			t.Errorf("%v: got %v, want %s", c.args, err, c.want)
		}
	}
}

// TestMain is the command itself for the tests that need a process.
func TestMain(m *testing.M) {
	if os.Getenv("LATEEN_TEST_COMMAND") == "" {
		os.Exit(m.Run())
	}
	var coded interface{ ExitCode() int }
	err := Run(context.Background(), os.Stdout, os.Stderr, os.Getenv, os.Args[1:])
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
	}
	switch {
	case errors.As(err, &coded):
		os.Exit(coded.ExitCode())
	case err != nil:
		os.Exit(1)
	}
}

// process runs the command in the namespace.
func process(t *testing.T, n *intercept.Namespace, uid uint32, args ...string) (code int, output string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), "LATEEN_TEST_COMMAND=1"), &out, &out
	if uid != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	}
	if err := n.Start(cmd); err != nil {
		t.Fatal(err)
	}
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// TestInitContainer runs the command as a pod does: it installs, checks, is run
// again, and cleans up; the check tells when the rules are not there.
func TestInitContainer(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the proxy's user is needed")
	}
	n, err := intercept.NewNamespace()
	if errors.Is(err, unix.EPERM) {
		t.Skip("network namespaces are forbidden here")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	pod(t, n)
	for _, mode := range []string{"REDIRECT", "TPROXY"} {
		all := []string{"-p", "15001", "-z", "15006", "-u", "1337", "-m", mode, "-i", "*", "-x", "", "-b", "*", "-d", "15090,15021,15020", "--redirect-dns", "--capture-all-dns", "--probe-timeout=500ms"}
		with := func(args ...string) []string { return append(append([]string{}, all...), args...) }
		for _, step := range []struct {
			what string
			uid  uint32
			args []string
			code int
		}{
			{"the check before", 1337, with("--run-validation", "--skip-rule-apply"), 126},
			{"the check before, as root", 0, with("--run-validation", "--skip-rule-apply"), 126},
			{"wrong input", 0, with("-o", "x"), 1},
			{"nothing was installed", 1337, with("--run-validation", "--skip-rule-apply"), 126},
			{"without NET_ADMIN", 1337, with(), 1},
			{"install", 0, with("--run-validation"), 0},
			{"again", 0, with("--run-validation"), 0},
			{"the check after", 1337, with("--run-validation", "--skip-rule-apply"), 0},
			{"clean up", 0, with("--cleanup-only"), 0},
			{"the check after cleaning", 1337, with("--run-validation", "--skip-rule-apply"), 126},
		} {
			if code, out := process(t, n, step.uid, step.args...); code != step.code {
				t.Errorf("%s: %s: exit code %d, want %d:\n%s", mode, step.what, code, step.code, out)
			}
		}
	}
}

// TestCheckBesideProxy: where a proxy has the port already, the check works too.
func TestCheckBesideProxy(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the proxy's user is needed")
	}
	n, err := intercept.NewNamespace()
	if errors.Is(err, unix.EPERM) {
		t.Skip("network namespaces are forbidden here")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	pod(t, n)
	l, err := n.Listen(netip.MustParseAddrPort("[::]:15006"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	check := []string{"-b", "*", "-i", "*", "--run-validation", "--skip-rule-apply", "--probe-timeout=300ms"}
	if code, out := process(t, n, 1337, check...); code != 126 {
		t.Errorf("before: exit code %d:\n%s", code, out)
	}
	if code, out := process(t, n, 0, "-b", "*", "-i", "*"); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, out)
	}
	if code, out := process(t, n, 1337, check...); code != 0 {
		t.Errorf("after: exit code %d:\n%s", code, out)
	}
}

// TestCheckWaits: the check succeeds when the rules come while it waits.
func TestCheckWaits(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the proxy's user is needed")
	}
	n, err := intercept.NewNamespace()
	if errors.Is(err, unix.EPERM) {
		t.Skip("network namespaces are forbidden here")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	pod(t, n)
	s := intercept.Defaults()
	s.Inbound, s.Outbound = "*", "*"
	o, err := s.Parse()
	if err != nil {
		t.Fatal(err)
	}
	later := time.AfterFunc(400*time.Millisecond, func() {
		if err := n.Do(func() error { return intercept.Install(o) }); err != nil {
			t.Error(err)
		}
	})
	defer later.Stop()
	if code, out := process(t, n, 1337, "-b", "*", "-i", "*", "--run-validation", "--skip-rule-apply", "--probe-timeout=10s"); code != 0 {
		t.Errorf("exit code %d:\n%s", code, out)
	}
}

// pod gives the namespace an address and a way out.
func pod(t *testing.T, n *intercept.Namespace) {
	t.Helper()
	hub, err := intercept.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hub.Close() })
	err = errors.Join(
		hub.Do(func() error { return intercept.AddBridge("br0", netip.MustParsePrefix("10.9.0.1/24")) }),
		hub.Do(func() error { return intercept.AddVeth("v0", "br0", "eth0", n) }),
		n.Do(func() error {
			return intercept.Address("eth0", netip.MustParsePrefix("10.9.0.2/24"), netip.MustParseAddr("10.9.0.1"))
		}))
	if err != nil {
		t.Fatal(err)
	}
}
