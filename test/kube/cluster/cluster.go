// Package cluster runs a real Kubernetes on this machine without touching it: etcd,
// the control plane, containerd, kubelet and kube-proxy live in namespaces of their
// own (network, mounts, processes), so that what they do to firewall, routes,
// sysctls, /etc, /run and /var is seen by nobody else, and one kill ends it all.
//
// It needs root, some Debian packages and the binaries that scripts/kube-setup.sh
// builds from Go modules; Missing says which of them are not there.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// Version is the version of Kubernetes that is run.
const Version = "v1.34.4"

// Options choose a cluster. The zero value is cluster 1 in the user's cache.
type Options struct {
	// Number tells clusters of one machine apart, 1 to 9: names and addresses
	// derive from it.
	Number int
	// Cache is the folder of binaries and state; "" for DefaultCache().
	Cache string
	// ProxyMode is kube-proxy's: "nftables" (the default) or "iptables".
	ProxyMode string
	// Log gets a line of progress now and then; nil for none.
	Log func(format string, args ...any)
}

// Cluster is one cluster, running or not. Its methods are not for concurrent use.
type Cluster struct {
	o     Options
	first *machine
}

// DefaultCache is lateen/kube in the user's cache folder.
func DefaultCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = filepath.Join(os.TempDir(), "lateen-cache")
	}
	return filepath.Join(dir, "lateen", "kube")
}

// New describes a cluster without starting it.
func New(o Options) *Cluster {
	if o.Number == 0 {
		o.Number = 1
	}
	if o.Cache == "" {
		o.Cache = DefaultCache()
	}
	if o.ProxyMode == "" {
		o.ProxyMode = "nftables"
	}
	if o.Log == nil {
		o.Log = func(string, ...any) {}
	}
	c := &Cluster{o: o}
	c.first = c.machine(1)
	return c
}

// Up starts the cluster with one node, DNS and addresses for Services of type
// LoadBalancer. On failure everything is taken down again.
func (c *Cluster) Up(ctx context.Context) (err error) {
	if missing := c.Missing(); missing != "" {
		return errors.New(missing)
	}
	if c.Running() {
		return fmt.Errorf("cluster %d is running already", c.o.Number)
	}
	if err := c.Down(ctx); err != nil { // what a killed run may have left
		return fmt.Errorf("cleaning up before the start: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("starting cluster %d: %w", c.o.Number, err), c.Down(context.WithoutCancel(ctx)))
		}
	}()
	began := time.Now()
	for _, step := range []struct {
		done string
		do   func(context.Context) error
	}{
		{"certificates written", c.writePKI},
		{"namespaces made", c.first.create},
		{"API server ready", c.startAPI},
		{"controllers work", c.startControllers},
		{"containerd ready", c.first.startRuntime},
		{"node ready", c.first.startKubelet},
		{"kube-proxy ready", c.first.startProxy},
		{"addresses and DNS ready", c.startServices},
	} {
		if err := step.do(ctx); err != nil {
			return err
		}
		c.o.Log("%5.1f s  %s", time.Since(began).Seconds(), step.done)
	}
	return nil
}

// Running says whether the cluster's first machine is up.
func (c *Cluster) Running() bool { return c.first.running() }

// Down ends the cluster and every node of it and removes all that they made but
// the binaries. It is no error if there is nothing.
func (c *Cluster) Down(ctx context.Context) error {
	var errs []error
	for n := maxNodes; n >= 1; n-- {
		m := c.machine(n)
		if n > 1 && !m.exists() {
			continue
		}
		errs = append(errs, m.remove(ctx))
	}
	return errors.Join(append(errs, os.RemoveAll(c.dir()))...)
}

// Kubeconfig is the path of the administrator's kubeconfig.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.pki(), "admin.kubeconfig") }

// Namespace is the name of the network namespace of the first node, in which
// cluster addresses and load balancers' addresses can be reached.
func (c *Cluster) Namespace() string { return c.first.netns }

// NodeIP is the address of the first node and of the API server.
func (c *Cluster) NodeIP() string { return c.first.address }

// Logs is the folder of the components' logs on the first node.
func (c *Cluster) Logs() string { return filepath.Join(c.first.dir, "log") }

// Binary gives the path of one of the built programs: "kube", "helm", "coredns".
func (c *Cluster) Binary(name string) string { return filepath.Join(c.o.Cache, Version, name) }

func (c *Cluster) dir() string { return filepath.Join(c.o.Cache, "run"+strconv.Itoa(c.o.Number)) }
func (c *Cluster) pki() string { return filepath.Join(c.dir(), "pki") }

// Number tells the cluster apart from others of the machine.
func (c *Cluster) Number() int { return c.o.Number }
