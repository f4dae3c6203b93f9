package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Names of the control plane's components, for Stop and Start.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
)

// startAPI starts etcd and the API server.
func (c *Cluster) startAPI(ctx context.Context) error {
	m := c.first
	err := m.start(Etcd, "etcd", "--data-dir", m.path("etcd"),
		"--listen-client-urls", "http://127.0.0.1:2379", "--advertise-client-urls", "http://127.0.0.1:2379",
		"--listen-peer-urls", "http://127.0.0.1:2380",
		// With fsync: an etcd that is killed without it forgets its last seconds, and a
		// cluster that goes back in time tests nothing.
		"--logger", "zap", "--log-level", "warn")
	if err != nil {
		return err
	}
	key := func(name string) string { return c.pki() + "/" + name }
	err = m.start(APIServer, c.Binary("kube"), APIServer,
		"--etcd-servers=http://127.0.0.1:2379",
		"--advertise-address="+m.address, "--secure-port=6443",
		"--service-cluster-ip-range="+serviceCIDR, "--service-node-port-range=30000-32767",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
		"--client-ca-file="+key("ca.crt"),
		"--tls-cert-file="+key("apiserver.crt"), "--tls-private-key-file="+key("apiserver.key"),
		"--kubelet-client-certificate="+key("apiserver-kubelet-client.crt"), "--kubelet-client-key="+key("apiserver-kubelet-client.key"),
		"--kubelet-certificate-authority="+key("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+key("sa.pub"), "--service-account-signing-key-file="+key("sa.key"),
		// Aggregated API servers, whether or not there is one.
		"--requestheader-client-ca-file="+key("front-proxy-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-username-headers=X-Remote-User", "--requestheader-group-headers=X-Remote-Group", "--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--proxy-client-cert-file="+key("front-proxy-client.crt"), "--proxy-client-key-file="+key("front-proxy-client.key"),
	)
	if err != nil {
		return err
	}
	return c.waitAPI(ctx, 90*time.Second)
}

// waitAPI waits until the API server says that it is ready.
func (c *Cluster) waitAPI(ctx context.Context, limit time.Duration) error {
	err := poll(ctx, limit, "the API server", func() error {
		_, err := c.Kubectl(ctx, nil, "get", "--raw", "/readyz")
		return err
	})
	if err != nil {
		return fmt.Errorf("%w; %s", err, c.first.tail(APIServer))
	}
	return nil
}

// startControllers starts the controller manager and the scheduler.
func (c *Cluster) startControllers(ctx context.Context) error {
	m, kube, key := c.first, c.Binary("kube"), func(name string) string { return c.pki() + "/" + name }
	err := m.start(ControllerManager, kube, ControllerManager,
		"--kubeconfig="+key("controller-manager.kubeconfig"), "--bind-address=127.0.0.1", "--leader-elect=false",
		"--use-service-account-credentials=true", "--service-account-private-key-file="+key("sa.key"), "--root-ca-file="+key("ca.crt"),
		"--cluster-signing-cert-file="+key("ca.crt"), "--cluster-signing-key-file="+key("ca.key"),
		// Each node is told its pods' addresses; a node that is gone for 20 s is not ready.
		"--allocate-node-cidrs=false", "--node-monitor-grace-period=20s",
	)
	if err != nil {
		return err
	}
	err = m.start(Scheduler, kube, Scheduler, "--kubeconfig="+key("scheduler.kubeconfig"), "--bind-address=127.0.0.1", "--leader-elect=false")
	if err != nil {
		return err
	}
	return poll(ctx, 60*time.Second, "the controller manager's first work", func() error {
		_, err := c.Kubectl(ctx, nil, "get", "serviceaccount", "default")
		return err
	})
}

// Kubectl runs kubectl as administrator with the given standard input and returns
// its output; an error holds what it said.
func (c *Cluster) Kubectl(ctx context.Context, stdin []byte, args ...string) (string, error) {
	return c.run(ctx, stdin, append([]string{c.Binary("kube"), "kubectl"}, args...)...)
}

// Helm runs the Helm command line as administrator.
func (c *Cluster) Helm(ctx context.Context, args ...string) (string, error) {
	return c.run(ctx, nil, append([]string{c.Binary("helm")}, args...)...)
}

// Run runs a program of the host in the first node's network, with KUBECONFIG set.
func (c *Cluster) Run(ctx context.Context, argv ...string) (string, error) {
	return c.run(ctx, nil, argv...)
}

// Command makes the command line of a program in the first node's network.
func (c *Cluster) Command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + c.first.netnsPath(), "--"}, argv...)...)
	cmd.Env = append(cmd.Environ(), "KUBECONFIG="+c.Kubeconfig())
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

func (c *Cluster) run(ctx context.Context, stdin []byte, argv ...string) (string, error) {
	cmd := c.Command(ctx, argv...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(argv[1:], " "), err, strings.TrimSpace(errs.String()+out.String()))
	}
	return out.String(), nil
}

// Stop ends a component of the first node, as a fault. grace 0 kills it.
func (c *Cluster) Stop(ctx context.Context, name string, grace time.Duration) error {
	return c.first.stop(ctx, name, grace)
}

// Start starts a component again that Stop ended, and waits for the API server
// where that is what was started, or what it stands on.
func (c *Cluster) Start(ctx context.Context, name string) error {
	d, err := c.first.daemon(name)
	if err != nil {
		return err
	}
	if err := c.first.start(name, d.Args...); err != nil {
		return err
	}
	if name == APIServer || name == Etcd {
		return c.waitAPI(ctx, 60*time.Second)
	}
	return nil
}
