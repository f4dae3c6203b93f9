package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// The node's own programs, and where they are reached from inside the machine.
const (
	Runtime       = "containerd"
	Kubelet       = "kubelet"
	KubeProxy     = "kube-proxy"
	runtimeSocket = "/run/containerd/containerd.sock"
)

// startRuntime starts containerd with the plugins and network that the node has,
// and imports the images that the cluster itself runs.
func (m *machine) startRuntime(ctx context.Context) error {
	if err := os.WriteFile(m.path("containerd.toml"), fmt.Appendf(nil, containerdConfig, m.path("containerd")), 0o644); err != nil {
		return err
	}
	// The machine's /etc is an overlay: what is to be in it is written through it.
	network := filepath.Join(m.root(), "etc/cni/net.d/10-pods.conflist")
	if err := os.WriteFile(network, fmt.Appendf(nil, cniConfig, m.pods), 0o644); err != nil {
		return err
	}
	plugins, err := filepath.Glob("/usr/lib/cni/*")
	if err != nil {
		return err
	}
	for _, p := range plugins {
		if err := os.Symlink(p, m.path("opt/cni/bin", filepath.Base(p))); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	if err := m.start(Runtime, "containerd", "--config", m.path("containerd.toml")); err != nil {
		return err
	}
	err = poll(ctx, 20*time.Second, "containerd", func() error { return m.ctr(ctx, "version") })
	if err != nil {
		return fmt.Errorf("%w; %s", err, m.tail(Runtime))
	}
	return m.importSystemImages(ctx)
}

// root is the machine's view of the file system, as seen from here.
func (m *machine) root() string {
	d, err := m.daemon("holder")
	if err != nil {
		return "/nonexistent"
	}
	return fmt.Sprintf("/proc/%d/root", d.PID)
}

// ctr runs containerd's command line on the node.
func (m *machine) ctr(ctx context.Context, args ...string) error {
	line, err := m.inside(append([]string{"ctr", "--address", runtimeSocket, "--namespace", "k8s.io"}, args...)...)
	if err != nil {
		return err
	}
	return command(ctx, line...)
}

// startKubelet starts the kubelet and waits until its node is ready.
func (m *machine) startKubelet(ctx context.Context) error {
	key := func(name string) string { return filepath.Join(m.c.pki(), name) }
	files := map[string]string{
		"resolv.conf":  "search .\n",
		"kubelet.yaml": fmt.Sprintf(kubeletConfig, m.cgroup, runtimeSocket, dnsService, m.pods, m.path("resolv.conf"), key("kubelet-"+m.node+".crt"), key("kubelet-"+m.node+".key"), key("ca.crt")),
	}
	for name, text := range files {
		if err := os.WriteFile(m.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	err := m.start(Kubelet, m.c.Binary("kube"), Kubelet, "--config="+m.path("kubelet.yaml"),
		"--kubeconfig="+key("kubelet-"+m.node+".kubeconfig"), "--hostname-override="+m.node, "--node-ip="+m.address,
		fmt.Sprintf("--node-labels=topology.kubernetes.io/region=region1,topology.kubernetes.io/zone=zone%d", m.number))
	if err != nil {
		return err
	}
	err = poll(ctx, 60*time.Second, "the node "+m.node, func() error {
		_, err := m.c.Kubectl(ctx, nil, "wait", "--for=condition=Ready", "node/"+m.node, "--timeout=5s")
		return err
	})
	if err != nil {
		return fmt.Errorf("%w; %s", err, m.tail(Kubelet))
	}
	return nil
}

// startProxy starts kube-proxy and waits until it has written its rules.
func (m *machine) startProxy(ctx context.Context) error {
	text := fmt.Sprintf(proxyConfig, m.c.o.ProxyMode, m.node, filepath.Join(m.c.pki(), "proxy.kubeconfig"), m.pods)
	if err := os.WriteFile(m.path("kube-proxy.yaml"), []byte(text), 0o644); err != nil {
		return err
	}
	if err := m.start(KubeProxy, m.c.Binary("kube"), KubeProxy, "--config="+m.path("kube-proxy.yaml")); err != nil {
		return err
	}
	err := poll(ctx, 30*time.Second, "kube-proxy", func() error {
		return exec.CommandContext(ctx, "nsenter", "--net="+m.netnsPath(), "--", "curl", "-sf", "-o", "/dev/null", "http://127.0.0.1:10256/healthz").Run()
	})
	if err != nil {
		return fmt.Errorf("%w; %s", err, m.tail(KubeProxy))
	}
	return nil
}

// AddNode starts a further node, 2 to 9.
func (c *Cluster) AddNode(ctx context.Context, n int) (err error) {
	if n < 2 || n > maxNodes {
		return fmt.Errorf("node %d: there are nodes 2 to %d besides the first", n, maxNodes)
	}
	m := c.machine(n)
	if m.exists() {
		return fmt.Errorf("%s is there already", m.node)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("starting %s: %w", m.node, err), m.remove(context.WithoutCancel(ctx)))
		}
	}()
	if err := c.writeNodePKI(m); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{m.create, m.startRuntime, m.startKubelet, m.startProxy} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// RemoveNode ends a further node, as a failed machine does: nothing is drained.
func (c *Cluster) RemoveNode(ctx context.Context, n int) error {
	m := c.machine(n)
	if n < 2 || !m.exists() {
		return fmt.Errorf("there is no %s to remove", m.node)
	}
	_, err := c.Kubectl(ctx, nil, "delete", "node", m.node, "--ignore-not-found", "--wait=false")
	return errors.Join(err, m.remove(ctx))
}

// OnNode is a command line that runs argv on the first node: in its network, with
// its files and processes.
func (c *Cluster) OnNode(argv ...string) ([]string, error) { return c.first.inside(argv...) }
