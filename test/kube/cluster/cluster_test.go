package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// footprint is what a cluster could leave on the host, one line each.
func footprint(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, argv := range [][]string{
		{"ip", "-o", "link"}, {"ip", "route"}, {"ip", "netns", "list"}, {"nft", "list", "ruleset"},
		{"find", "/etc/cni", "/opt/cni", "/var/lib/cni", "/var/lib/kubelet", "/var/log/pods", "/var/log/containers", "/run/containerd", "/run/netns", "/run/flannel", "-maxdepth", "2"},
	} {
		out, err := exec.Command(argv[0], argv[1:]...).Output()
		if err != nil && argv[0] != "find" { // many of these folders are not there
			t.Fatalf("%v: %v", argv, err)
		}
		for line := range strings.Lines(string(out)) {
			if !strings.Contains(line, "counter packets") {
				all = append(all, argv[0]+" "+strings.TrimSpace(line))
			}
		}
	}
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		all = append(all, "mount "+strings.TrimSpace(line))
	}
	for name := range sysctls {
		text, err := os.ReadFile("/proc/sys/" + name)
		all = append(all, fmt.Sprint("sysctl ", name, " ", string(text), err))
	}
	trees, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, tree := range trees {
		dirs, _ := filepath.Glob(tree + "/*kube*")
		all = append(all, dirs...)
	}
	return all
}

// processes lists the command lines of all processes that name the cluster's folder.
func processes(c *Cluster) []string {
	var all []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		text, err := os.ReadFile(f)
		if line := strings.ReplaceAll(string(text), "\x00", " "); err == nil && strings.Contains(line, c.dir()) {
			all = append(all, line)
		}
	}
	return all
}

// TestLeavesNothing starts a cluster of two nodes with a pod, kills it in the
// middle of its life, and compares the host with what it was.
func TestLeavesNothing(t *testing.T) {
	if os.Getenv("LATEEN_KUBE") != "full" {
		t.Skip("it takes half a minute: run `make kube`")
	}
	c := New(Options{Number: 9, Log: t.Logf})
	if missing := c.Missing(); missing != "" {
		t.Skip(missing)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	before := footprint(t)
	defer c.Down(context.WithoutCancel(ctx))
	if err := c.Up(ctx); err != nil {
		t.Fatal(err)
	}
	if err := c.AddNode(ctx, 2); err != nil {
		t.Fatal(err)
	}
	_, err := c.Kubectl(ctx, nil, "create", "deployment", "idle", "--image=localhost/pause:1", "--replicas=4")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kubectl(ctx, nil, "wait", "deployment/idle", "--for=condition=Available", "--timeout=60s"); err != nil {
		t.Fatal(err)
	}
	nodes, err := c.Kubectl(ctx, nil, "get", "pods", "-l", "app=idle", "-o", "jsonpath={.items[*].spec.nodeName}")
	if err != nil || !strings.Contains(nodes, "node1") || !strings.Contains(nodes, "node2") {
		t.Errorf("pods run on %q: %v", nodes, err)
	}
	if len(processes(c)) == 0 {
		t.Error("the test sees none of the cluster's processes: it would miss those that stay")
	}
	if err := c.Down(ctx); err != nil {
		t.Fatal(err)
	}
	after := footprint(t)
	for _, line := range after {
		if !slices.Contains(before, line) && !strings.Contains(line, "ltkube1") && !strings.Contains(line, "ltkube2") {
			t.Errorf("it left %s", line)
		}
	}
	for _, line := range before {
		if !slices.Contains(after, line) {
			t.Errorf("it took away %s", line)
		}
	}
	for _, line := range processes(c) {
		t.Errorf("it left the process %s", line)
	}
	if _, err := os.Stat(c.dir()); err == nil {
		t.Errorf("it left %s", c.dir())
	}
}
