package cluster

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// dns is CoreDNS as the cluster's name service.
//
//go:embed coredns.yaml
var dns []byte

// balancer is the daemon that gives addresses to Services.
const balancer = "addresses"

// startServices starts what a cloud would bring: addresses for Services of type
// LoadBalancer, and the cluster's name service.
func (c *Cluster) startServices(ctx context.Context) error {
	err := c.first.start(balancer, c.Binary(balancer), "-server", c.keys().server, "-cidr", c.balancerCIDR(),
		"-ca", filepath.Join(c.pki(), "ca.crt"), "-cert", filepath.Join(c.pki(), "admin.crt"), "-key", filepath.Join(c.pki(), "admin.key"))
	if err != nil {
		return err
	}
	if _, err := c.Kubectl(ctx, dns, "apply", "-f", "-"); err != nil {
		return err
	}
	_, err = c.Kubectl(ctx, nil, "-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=60s")
	return err
}

// Import puts the images of an archive on every node. Pods that run keep what
// they run: restart them to see a new image of an old name.
func (c *Cluster) Import(ctx context.Context, archive string) error {
	archive, err := filepath.Abs(archive)
	if err != nil {
		return err
	}
	if err := c.ImportMore(ctx, archive); err != nil {
		return err
	}
	// What a test loaded is what a node that joins later needs too.
	os.Remove(c.loaded())
	if err := os.Link(archive, c.loaded()); err != nil {
		c.o.Log("nodes that join later will not have these images: %v", err)
	}
	return nil
}

// ImportMore puts further images on every node that runs. Nodes that join later
// do not get them.
func (c *Cluster) ImportMore(ctx context.Context, archive string) error {
	archive, err := filepath.Abs(archive)
	if err != nil {
		return err
	}
	for n := 1; n <= maxNodes; n++ {
		m := c.machine(n)
		if !m.running() {
			continue
		}
		if err := m.importImages(ctx, archive); err != nil {
			return fmt.Errorf("images for %s: %w", m.node, err)
		}
	}
	return nil
}

func (c *Cluster) loaded() string { return filepath.Join(c.dir(), "images.tar") }

func (m *machine) importImages(ctx context.Context, archive string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return m.ctr(ctx, "images", "import", archive)
}

func (m *machine) importSystemImages(ctx context.Context) error {
	if err := m.importImages(ctx, m.c.Binary("system.tar")); err != nil {
		return err
	}
	if _, err := os.Stat(m.c.loaded()); m.number == 1 || err != nil {
		return nil
	}
	return m.importImages(ctx, m.c.loaded())
}
