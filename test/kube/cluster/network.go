package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// createNetwork makes the network namespace and a link to the host (first
// machine) or to the first machine (all others). The host gets one interface and
// one route, no forwarding and no firewall rule.
func (m *machine) createNetwork(ctx context.Context) error {
	near, far := m.links()
	var outer []string // `ip` in the namespace of the link's other end
	if m.number > 1 {
		outer = []string{"-n", m.c.first.netns}
	}
	ip := func(where []string, args ...string) []string {
		return append(append([]string{"ip"}, where...), args...)
	}
	inner := []string{"-n", m.netns}
	lines := [][]string{
		{"ip", "netns", "add", m.netns},
		ip(outer, "link", "add", near, "type", "veth", "peer", "name", far, "netns", m.netns),
		ip(outer, "addr", "add", m.gateway+"/30", "dev", near),
		ip(outer, "link", "set", near, "up"),
		ip(inner, "link", "set", "lo", "up"),
		ip(inner, "addr", "add", m.address+"/30", "dev", far),
		ip(inner, "link", "set", far, "up"),
		// kubelet and kube-proxy take the node's address from the default route.
		ip(inner, "route", "add", "default", "via", m.gateway),
		{"nsenter", "--net=" + m.netnsPath(), "sysctl", "-qw", "net.ipv4.ip_forward=1"},
	}
	if m.number == 1 {
		lines = append(lines, ip(nil, "route", "add", m.c.balancerCIDR(), "via", m.address))
	} else {
		lines = append(lines, ip(outer, "route", "add", m.pods, "via", m.address))
	}
	for _, l := range lines {
		if err := command(ctx, l...); err != nil {
			return err
		}
	}
	return nil
}

// links names the two ends of the machine's link, in at most 15 characters.
func (m *machine) links() (near, far string) {
	return fmt.Sprintf("ltk%dn%d", m.c.o.Number, m.number), "uplink"
}

// removeNetwork removes the namespace; the link and the routes over it go with it.
func (m *machine) removeNetwork(ctx context.Context) error {
	if _, err := os.Stat(m.netnsPath()); err != nil {
		return nil
	}
	near, _ := m.links()
	// The kernel takes a namespace apart later; the link goes at once if asked.
	if m.number == 1 {
		exec.CommandContext(ctx, "ip", "link", "del", near).Run()
	} else if m.c.first.exists() {
		exec.CommandContext(ctx, "ip", "-n", m.c.first.netns, "link", "del", near).Run()
	}
	return command(ctx, "ip", "netns", "del", m.netns)
}

const cgroupRoot = "/sys/fs/cgroup"

// hierarchies are the cgroup trees of the host: all of version 1's, or the one of
// version 2.
func hierarchies() ([]string, error) {
	if _, err := os.Stat(cgroupRoot + "/cgroup.controllers"); err == nil {
		return []string{cgroupRoot}, nil
	}
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var all []string
	for _, e := range entries {
		// "cpu" and "cpuacct" may be links to one tree.
		real, err := filepath.EvalSymlinks(filepath.Join(cgroupRoot, e.Name()))
		if err != nil || seen[real] {
			continue
		}
		if st, err := os.Stat(real + "/cgroup.procs"); err != nil || st.IsDir() {
			continue
		}
		seen[real] = true
		all = append(all, real)
	}
	return all, nil
}

// createCgroups makes the cgroup under which all pods of the node live.
func (m *machine) createCgroups() error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	for _, tree := range trees {
		dir := filepath.Join(tree, m.cgroup)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		// A cpuset of version 1 begins empty, and no process may enter it.
		for _, f := range []string{"cpuset.cpus", "cpuset.mems"} {
			text, err := os.ReadFile(filepath.Join(tree, f))
			if err != nil || tree == cgroupRoot {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, f), text, 0o644); err != nil {
				return fmt.Errorf("cgroup of the pods: %w", err)
			}
		}
	}
	return nil
}

// removeCgroups removes the tree of the pods' cgroups once its processes are gone.
func (m *machine) removeCgroups(ctx context.Context) error {
	trees, err := hierarchies()
	if err != nil {
		return err
	}
	return poll(ctx, 20*time.Second, "the pods' cgroups to empty", func() error {
		var errs []error
		for _, tree := range trees {
			errs = append(errs, removeTree(filepath.Join(tree, m.cgroup)))
		}
		return errors.Join(errs...)
	})
}

// removeTree removes a cgroup and those below it, deepest first.
func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := os.Remove(dir); err != nil && !strings.Contains(err.Error(), "no such file") {
		return err
	}
	return nil
}
