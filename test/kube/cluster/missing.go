package cluster

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// tools are the programs of the system that a cluster needs, and the Debian
// packages that have them.
var tools = []struct{ program, pkg string }{
	{"etcd", "etcd-server"},
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"/usr/lib/cni/ptp", "containernetworking-plugins"},
	{"nft", "nftables"},
	{"iptables", "iptables"},
	{"ip", "iproute2"},
	{"nsenter", "util-linux"},
	{"unshare", "util-linux"},
}

// Packages are the Debian packages that a cluster needs.
func Packages() []string {
	var all []string
	for _, t := range tools {
		if !slices.Contains(all, t.pkg) {
			all = append(all, t.pkg)
		}
	}
	return all
}

// Missing says in one sentence what keeps a cluster from running here, or "".
func (c *Cluster) Missing() string {
	if os.Getuid() != 0 {
		return "a Kubernetes cluster needs root (namespaces, mounts, cgroups)"
	}
	var packages []string
	for _, t := range tools {
		if _, err := exec.LookPath(t.program); err != nil && !slices.Contains(packages, t.pkg) {
			packages = append(packages, t.pkg)
		}
	}
	if len(packages) > 0 {
		return fmt.Sprintf("a Kubernetes cluster needs the Debian packages %s: scripts/kube-setup.sh installs them", strings.Join(packages, " "))
	}
	for _, b := range []string{"kube", "coredns", "helm"} {
		if _, err := os.Stat(c.Binary(b)); err != nil {
			return fmt.Sprintf("Kubernetes' binaries are not built (no %s): scripts/kube-setup.sh builds them, some 8 minutes once", c.Binary(b))
		}
	}
	return ""
}
