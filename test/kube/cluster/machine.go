package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// maxNodes bounds the nodes of a cluster: their addresses come from one byte.
const maxNodes = 9

// machine is one node's ground: a network namespace with a name, and a first
// process ("holder") that has mount and process namespaces of its own. Whatever
// runs on the node is below that process and dies with it.
type machine struct {
	c *Cluster

	number  int
	node    string // name of the Node object
	netns   string // name of the network namespace
	dir     string
	address string // of the node
	gateway string // the other end of its link: the host, or the first machine
	pods    string // CIDR of its pods
	cgroup  string // below each hierarchy
}

// machine describes node n (1 to maxNodes) of the cluster.
func (c *Cluster) machine(n int) *machine {
	m := &machine{
		c: c, number: n,
		node:  fmt.Sprintf("node%d", n),
		netns: fmt.Sprintf("ltkube%d", c.o.Number),
		dir:   filepath.Join(c.dir(), fmt.Sprintf("node%d", n)),
		// 192.168.10C.0/24 holds one /30 per node.
		address: fmt.Sprintf("192.168.%d.%d", 100+c.o.Number, 4*n-2),
		gateway: fmt.Sprintf("192.168.%d.%d", 100+c.o.Number, 4*n-3),
		pods:    fmt.Sprintf("10.14%d.%d.0/24", c.o.Number, n),
		cgroup:  fmt.Sprintf("lateen-kube%d-%d", c.o.Number, n),
	}
	if n > 1 {
		m.netns += fmt.Sprintf("n%d", n)
	}
	return m
}

// Addresses of the cluster that are the same in every cluster: they are seen
// only inside its namespaces.
const (
	serviceCIDR = "10.96.0.0/16"
	apiService  = "10.96.0.1"
	dnsService  = "10.96.0.10"
)

// balancerCIDR holds the addresses for Services of type LoadBalancer; the host
// routes it to the first node.
func (c *Cluster) balancerCIDR() string { return fmt.Sprintf("10.98.%d.0/24", c.o.Number) }

func (m *machine) path(parts ...string) string {
	return filepath.Join(append([]string{m.dir}, parts...)...)
}

func (m *machine) netnsPath() string { return "/run/netns/" + m.netns }

// exists says whether something of the machine is there, running or not.
func (m *machine) exists() bool {
	_, errDir := os.Stat(m.dir)
	_, errNS := os.Stat(m.netnsPath())
	return errDir == nil || errNS == nil
}

// create makes the namespaces, the link to the outside and the private folders.
func (m *machine) create(ctx context.Context) error {
	for _, d := range []string{"log", "daemons", "var/lib", "var/log", "opt/cni/bin", "etc", "etc.work", "sysctl"} {
		if err := os.MkdirAll(m.path(d), 0o755); err != nil {
			return err
		}
	}
	if err := m.createNetwork(ctx); err != nil {
		return err
	}
	if err := m.createCgroups(); err != nil {
		return err
	}
	script, err := m.holderScript()
	if err != nil {
		return err
	}
	argv := []string{"nsenter", "--net=" + m.netnsPath(), "--", "unshare", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--propagation", "private", "--", "/bin/sh", "-ec", script}
	_, err = m.spawn("holder", argv, true)
	if err != nil {
		return err
	}
	return poll(ctx, 10*time.Second, "the machine's namespaces", func() error {
		_, err := os.Stat(m.path("made"))
		return err
	})
}

// sysctls are those that a kubelet sets for the whole host. The machine sees
// files of its own in their place, with the values that the kubelet wants.
var sysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// holderScript makes the machine's own view of the file system and stays as the
// first process of its process namespace. Pods get mounts by propagation, so the
// root is shared, among the machine's processes only.
func (m *machine) holderScript() (string, error) {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	add("mount --make-rshared /")
	add("mount -t overlay overlay -o lowerdir=/etc,upperdir=%s,workdir=%s /etc", m.path("etc"), m.path("etc.work"))
	add("mount --bind %s /var/lib", m.path("var/lib"))
	add("mount --bind %s /var/log", m.path("var/log"))
	add("mount --bind %s /opt", m.path("opt"))
	add("mount -t tmpfs -o mode=755,size=256m run /run")
	add("mkdir -p /run/netns /run/containerd /run/lock /etc/cni/net.d")
	for name, value := range sysctls {
		file := m.path("sysctl", strings.ReplaceAll(name, "/", "."))
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return "", err
		}
		add("mount --bind %s /proc/sys/%s", file, name)
	}
	add("touch %s", m.path("made"))
	add("exec %s", m.c.Binary("pause"))
	return b.String(), nil
}

// running says whether the holder lives.
func (m *machine) running() bool {
	d, err := m.daemon("holder")
	return err == nil && d.alive()
}

// inside is a command line that runs argv in all of the machine's namespaces.
func (m *machine) inside(argv ...string) ([]string, error) {
	d, err := m.daemon("holder")
	if err != nil || !d.alive() {
		return nil, fmt.Errorf("%s is not running", m.node)
	}
	return append([]string{"nsenter", "--net", "--mount", "--pid", fmt.Sprintf("--target=%d", d.PID), "--"}, argv...), nil
}

// remove ends the machine and leaves nothing of it.
func (m *machine) remove(ctx context.Context) error {
	var errs []error
	if d, err := m.daemon("holder"); err == nil && d.alive() {
		// The first process of a process namespace takes all others with it.
		if err := syscall.Kill(d.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, fmt.Errorf("ending %s: %w", m.node, err))
		}
		errs = append(errs, poll(ctx, 20*time.Second, "the end of "+m.node+"'s processes", func() error {
			if d.alive() {
				return fmt.Errorf("process %d is there", d.PID)
			}
			return nil
		}))
	}
	errs = append(errs, m.removeCgroups(ctx), m.removeNetwork(ctx), os.RemoveAll(m.dir))
	return errors.Join(errs...)
}

// writeJSON writes v to a file of the machine.
func (m *machine) writeJSON(name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(m.path(name), text, 0o644)
}
