package cni

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/intercept"
	"github.com/lateen-mesh/lateen/internal/ops"
)

// TestMain is the plugin where a test runs it as a runtime does.
func TestMain(m *testing.M) {
	if os.Getenv("CNI_COMMAND") != "" {
		os.Exit(RunPlugin())
	}
	os.Exit(m.Run())
}

// node is a node with an agent and one pod's namespace.
type node struct {
	t      *testing.T
	server *apiServer
	o      Options
	netns  string
	pod    *intercept.Namespace
	stop   func() error // the agent
}

func newNode(t *testing.T) *node {
	t.Helper()
	ns, err := intercept.NewNamespace()
	if errors.Is(err, unix.EPERM) {
		t.Skip("network namespaces are forbidden here")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	n := &node{t: t, server: newAPIServer(t), pod: ns, netns: fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), ns.File().Fd())}
	dir, err := os.MkdirTemp("", "cni") // short: a socket's path is limited
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	folder := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n.o = Options{Node: "node1", Namespace: "istio-system", DaemonSet: "istio-cni-node", Binary: program, BinDir: folder("bin"), ConfDir: folder("net.d"),
		ConfName: "00-lateen-cni.conflist", Chained: true, SocketDir: folder("run"), NetnsDir: folder("netns"), FailurePolicy: Fail,
		ExcludeNamespaces: []string{"kube-system"}, Repair: RepairOff, RepairLabel: "cni.istio.io/uninitialized=true", API: n.server.api, Log: ops.Discard()}
	n.o.HostSocketDir = n.o.SocketDir
	n.write("10-ptp.conflist", `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"ptp"}]}`)
	return n
}

func (n *node) write(name, text string) {
	n.t.Helper()
	if err := os.WriteFile(filepath.Join(n.o.ConfDir, name), []byte(text), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

// start runs the agent until the function that it returns, or the test's end.
func (n *node) start() {
	n.t.Helper()
	ctx, cancel := context.WithCancel(n.t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, n.o) }()
	stopped := false
	n.stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	n.t.Cleanup(func() {
		if err := n.stop(); err != nil {
			n.t.Error(err)
		}
	})
	n.eventually("the plugin's configuration", func() bool {
		_, err := os.Stat(n.conf())
		return err == nil
	})
}

func (n *node) conf() string { return filepath.Join(n.o.ConfDir, n.o.ConfName) }

func (n *node) eventually(what string, f func() bool) {
	n.t.Helper()
	for range 500 {
		if f() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	n.t.Fatalf("in 5 s there was not: %s", what)
}

const previousResult = `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0"}],"ips":[{"interface":0,"address":"10.9.0.2/24"}],"dns":{}}`

// call runs the plugin from the configuration, as a runtime does.
func (n *node) call(command, namespace, pod, uid string, change func(map[string]any)) (out string, ok bool) {
	n.t.Helper()
	text, err := os.ReadFile(n.conf())
	if err != nil {
		n.t.Fatal(err)
	}
	var list struct {
		CNIVersion, Name string
		Plugins          []map[string]any
	}
	if err := json.Unmarshal(text, &list); err != nil {
		n.t.Fatal(err)
	}
	entry := list.Plugins[len(list.Plugins)-1]
	entry["name"], entry["cniVersion"], entry["prevResult"] = list.Name, list.CNIVersion, json.RawMessage(previousResult)
	if change != nil {
		change(entry)
	}
	stdin, err := json.Marshal(entry)
	if err != nil {
		n.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(n.o.BinDir, PluginName))
	cmd.Env = []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=c1", "CNI_NETNS=" + n.netns, "CNI_IFNAME=eth0", "CNI_PATH=" + n.o.BinDir,
		"CNI_ARGS=K8S_POD_NAMESPACE=" + namespace + ";K8S_POD_NAME=" + pod + ";K8S_POD_INFRA_CONTAINER_ID=c1;K8S_POD_UID=" + uid}
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &stdout, &stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		n.t.Fatal(err)
	}
	return stdout.String(), err == nil
}

func (n *node) redirected() bool {
	n.t.Helper()
	present := false
	err := n.pod.Do(func() (err error) {
		present, err = intercept.Present()
		return err
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return present
}

func (n *node) clean() {
	n.t.Helper()
	o, err := intercept.Defaults().Parse()
	if err != nil {
		n.t.Fatal(err)
	}
	if err := n.pod.Do(func() error { return intercept.Uninstall(o) }); err != nil {
		n.t.Fatal(err)
	}
}

// TestPlugin runs the agent and the plugin together.
func TestPlugin(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	plain := injected(t, func(p *Pod) {
		p.Metadata.Name, p.Metadata.UID, p.Metadata.Annotations, p.Spec.InitContainers = "plain", "u2", nil, nil
	})
	wrong := injected(t, func(p *Pod) {
		annotate(trafficPrefix+"includeInboundPorts", "x")(p)
		p.Metadata.Name, p.Metadata.UID = "wrong", "u3"
	})
	n.server.pods = []*Pod{injected(t, nil), plain, wrong}
	n.start()
	ignore := func(e map[string]any) { e["failurePolicy"] = "Ignore" }
	for _, c := range []struct {
		what, command, namespace, pod, uid string
		change                             func(map[string]any)
		before                             func()
		ok, redirected                     bool
		output                             string
	}{
		{what: "injected", command: "ADD", namespace: "shop", pod: "web-1", uid: "u1", ok: true, redirected: true, output: `"10.9.0.2/24"`},
		{what: "check", command: "CHECK", namespace: "shop", pod: "web-1", uid: "u1", ok: true, redirected: true},
		{what: "again", command: "ADD", namespace: "shop", pod: "web-1", uid: "u1", ok: true, redirected: true, output: `"10.9.0.2/24"`},
		{what: "delete", command: "DEL", namespace: "shop", pod: "web-1", uid: "u1", ok: true, redirected: true},
		{what: "check without rules", command: "CHECK", namespace: "shop", pod: "web-1", uid: "u1", before: n.clean, output: "chain"},
		{what: "not injected", command: "ADD", namespace: "shop", pod: "plain", uid: "u2", ok: true, output: `"10.9.0.2/24"`},
		{what: "not chained", command: "ADD", namespace: "shop", pod: "web-1", uid: "u1", change: func(e map[string]any) { delete(e, "prevResult") }, ok: true, redirected: true, output: `"cniVersion": "1.0.0"`},
		{what: "no pod", command: "ADD", before: n.clean, ok: true},
		{what: "a wrong annotation", command: "ADD", namespace: "shop", pod: "wrong", uid: "u3", output: `inbound ports: \"x\" is not a port`},
		{what: "a wrong annotation, Ignore", command: "ADD", namespace: "shop", pod: "wrong", uid: "u3", change: ignore, output: `inbound ports: \"x\" is not a port`},
		{what: "another pod of the name", command: "ADD", namespace: "shop", pod: "web-1", uid: "u9", output: "has the UID u1, not u9"},
		{what: "version", command: "VERSION", ok: true, output: `"1.1.0"`},
		{what: "status", command: "STATUS", change: func(e map[string]any) { e["cniVersion"] = "1.1.0"; delete(e, "prevResult") }, ok: true},
		{what: "a wrong policy", command: "ADD", namespace: "shop", pod: "web-1", uid: "u1", change: func(e map[string]any) { e["failurePolicy"] = "" }, output: `failurePolicy`},
		{what: "agent away", command: "ADD", namespace: "shop", pod: "web-1", uid: "u1", before: func() { n.server.set(func() { n.server.gone = false }); n.stop() }, output: "does not decide"},
		{what: "agent away, Ignore", command: "ADD", namespace: "shop", pod: "web-1", uid: "u1", change: ignore, ok: true, output: `"10.9.0.2/24"`},
		{what: "agent away, excluded namespace", command: "ADD", namespace: "kube-system", pod: "dns", uid: "u5", ok: true},
		{what: "agent away, the agent itself", command: "ADD", namespace: "istio-system", pod: "istio-cni-node-x7", uid: "u6", ok: true},
		{what: "agent away, delete", command: "DEL", namespace: "shop", pod: "web-1", uid: "u1", ok: true},
	} {
		if c.before != nil {
			c.before()
		}
		out, ok := n.call(c.command, c.namespace, c.pod, c.uid, c.change)
		if ok != c.ok || !strings.Contains(out, c.output) {
			t.Errorf("%s: success %v, want %v:\n%s", c.what, ok, c.ok, out)
		}
		if got := n.redirected(); got != c.redirected {
			t.Errorf("%s: redirected %v, want %v", c.what, got, c.redirected)
		}
	}
}

// TestAPIServerAway: no decision is no decision, whoever fails.
func TestAPIServerAway(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it waits for tries")
	}
	n := newNode(t)
	n.start()
	n.server.set(func() { n.server.broken = true })
	for policy, want := range map[FailurePolicy]bool{Fail: false, Ignore: true} {
		out, ok := n.call("ADD", "shop", "web-1", "u1", func(e map[string]any) { e["failurePolicy"] = string(policy) })
		if ok != want || !ok && !strings.Contains(out, "the API server answers 500: out of order") {
			t.Errorf("%s: success %v, want %v:\n%s", policy, ok, want, out)
		}
	}
	n.server.set(func() { n.server.broken = false })
}

// TestLeave: an agent that comes back leaves the plugin; one whose DaemonSet is
// gone takes it away; one that cannot know leaves it.
func TestLeave(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set   func(*apiServer)
		stays bool
	}{
		"it comes back":       {func(*apiServer) {}, true},
		"DaemonSet deleted":   {func(s *apiServer) { s.gone = true }, false},
		"account deleted":     {func(s *apiServer) { os.WriteFile(filepath.Join(s.dir, "token"), []byte("old"), 0o600) }, false},
		"the API server away": {func(s *apiServer) { s.broken = true }, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.start()
			n.server.set(func() { c.set(n.server) })
			if err := n.stop(); err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{n.conf(), filepath.Join(n.o.BinDir, PluginName)} {
				if _, err := os.Stat(path); (err == nil) != c.stays {
					t.Errorf("%s: %v, want it to stay: %v", path, err, c.stays)
				}
			}
			if _, err := os.Stat(filepath.Join(n.o.ConfDir, "10-ptp.conflist")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestUntaint: the taint goes once the plugin is there, and others stay.
func TestUntaint(t *testing.T) {
	n := newNode(t)
	n.o.RemoveTaint = true
	n.server.taints = []map[string]any{{"key": "other"}, {"key": NotReadyTaint, "effect": "NoSchedule"}}
	n.start()
	const want = `PATCH /api/v1/nodes/node1 application/json-patch+json [{"op":"test","path":"/spec/taints/1","value":{"effect":"NoSchedule","key":"cni.istio.io/not-ready"}},{"op":"remove","path":"/spec/taints/1"}]`
	n.eventually("the taint's removal", func() bool { return n.server.changes() != "" })
	if got := n.server.changes(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestRepair: a pod that started without redirection is dealt with, once, and no
// other.
func TestRepair(t *testing.T) {
	failed := func(p *Pod) {
		if err := json.Unmarshal([]byte(`[{"name":"istio-validation","state":{},"lastState":{"terminated":{"exitCode":126}}}]`), &p.Status.InitContainerStatuses); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		mode       RepairMode
		change     func(*Pod)
		watched    bool // the pod comes by the watch
		noNetns    bool
		proc       bool // its namespace is found by a process
		already    bool // it is redirected
		changes    string
		redirected bool
	}{
		"repair":                         {mode: RepairPods, redirected: true},
		"repair, later":                  {mode: RepairPods, watched: true, redirected: true},
		"repair, by process":             {mode: RepairPods, proc: true, redirected: true},
		"delete":                         {mode: RepairDelete, changes: `DELETE /api/v1/namespaces/shop/pods/web-1 application/json {"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"uid":"u1"}}`},
		"label":                          {mode: RepairLabel, changes: `PATCH /api/v1/namespaces/shop/pods/web-1/status application/merge-patch+json {"metadata":{"labels":{"cni.istio.io/uninitialized":"true"},"uid":"u1"}}`},
		"redirected already":             {mode: RepairDelete, already: true, redirected: true},
		"off":                            {mode: RepairOff},
		"not injected":                   {mode: RepairDelete, change: func(p *Pod) { p.Metadata.Annotations = nil }},
		"finished":                       {mode: RepairDelete, change: func(p *Pod) { p.Status.Phase = "Succeeded" }},
		"being deleted":                  {mode: RepairDelete, change: func(p *Pod) { p.Metadata.DeletionTimestamp = "now" }},
		"unknown namespace":              {mode: RepairDelete, noNetns: true},
		"unknown namespace, check fails": {mode: RepairDelete, noNetns: true, change: failed, changes: `DELETE /api/v1/namespaces/shop/pods/web-1 application/json {"apiVersion":"v1","kind":"DeleteOptions","preconditions":{"uid":"u1"}}`},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			address(t, n.pod)
			if !c.noNetns {
				file := filepath.Join(n.o.NetnsDir, "cni-1")
				if c.proc {
					file = filepath.Join(n.o.NetnsDir, "123", "ns", "net")
				}
				if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.Symlink(n.netns, file)); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink("/proc/self/ns/net", filepath.Join(n.o.NetnsDir, "cni-0")); err != nil {
				t.Fatal(err)
			}
			p := injected(t, c.change)
			if !c.watched {
				n.server.pods = []*Pod{p}
			}
			if c.already {
				d, err := Decide(p, nil)
				if err != nil {
					t.Fatal(err)
				}
				if err := n.pod.Do(func() error { return intercept.Install(*d.Options) }); err != nil {
					t.Fatal(err)
				}
			}
			n.o.Repair = c.mode
			n.start()
			text, err := json.Marshal(map[string]any{"type": "MODIFIED", "object": p})
			if err != nil {
				t.Fatal(err)
			}
			if c.mode != RepairOff {
				n.server.events <- string(text)
				n.server.events <- string(text) // again: nothing more is done
				n.server.events <- `{"type":"BOOKMARK","object":{}}`
				n.eventually("the watch", func() bool { return len(n.server.events) == 0 })
			}
			if c.changes != "" || c.redirected {
				n.eventually("the repair", func() bool { return n.server.changes() == c.changes && n.redirected() == c.redirected })
			}
			time.Sleep(50 * time.Millisecond) // what must not happen has time to
			if got := n.server.changes(); got != c.changes {
				t.Errorf("got  %s\nwant %s", got, c.changes)
			}
			if got := n.redirected(); got != c.redirected {
				t.Errorf("redirected %v, want %v", got, c.redirected)
			}
		})
	}
}

// address gives the pod's namespace the pod's address.
func address(t *testing.T, pod *intercept.Namespace) {
	t.Helper()
	hub, err := intercept.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { hub.Close() })
	err = errors.Join(
		hub.Do(func() error { return intercept.AddBridge("br0", netip.MustParsePrefix("10.9.0.1/24")) }),
		hub.Do(func() error { return intercept.AddVeth("v0", "br0", "eth0", pod) }),
		pod.Do(func() error {
			return intercept.Address("eth0", netip.MustParsePrefix("10.9.0.2/24"), netip.MustParseAddr("10.9.0.1"))
		}))
	if err != nil {
		t.Fatal(err)
	}
}

// TestStaleNamespace: a path that meanwhile is another namespace's is not taken
// for the pod's.
func TestStaleNamespace(t *testing.T) {
	n := newNode(t)
	address(t, n.pod)
	if err := os.Symlink(n.netns, filepath.Join(n.o.NetnsDir, "cni-1")); err != nil {
		t.Fatal(err)
	}
	stale := map[netip.Addr]string{netip.MustParseAddr("10.9.0.2"): "/proc/self/ns/net"}
	find := namespaces{dir: n.o.NetnsDir, byAddr: stale}
	ns, err := find.open(injected(t, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	got, err := inodeOf(fmt.Sprintf("/proc/self/fd/%d", ns.File().Fd()))
	want, werr := inodeOf(n.netns)
	if err != nil || werr != nil || got != want {
		t.Errorf("namespace %d, want %d (%v, %v)", got, want, err, werr)
	}
}
