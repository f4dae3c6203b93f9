package cni

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestInstall follows what other agents do with the folder, by its changes.
func TestInstall(t *testing.T) {
	n := newNode(t)
	n.start()
	has := func(words ...string) func() bool {
		return func() bool {
			text, err := os.ReadFile(n.conf())
			for _, w := range words {
				if err != nil || !strings.Contains(string(text), w) {
					return false
				}
			}
			return true
		}
	}
	n.eventually("the list", has(`"ptp"`, `"lateen-cni"`))
	n.write("10-ptp.conflist", `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"ptp"},{"type":"bandwidth"}]}`)
	n.eventually("the other agent's change", has(`"bandwidth"`, `"lateen-cni"`))
	n.write("05-calico.conflist", `{"cniVersion":"1.0.0","name":"calico","plugins":[{"type":"calico"}]}`)
	n.eventually("another network", has(`"calico"`, `"lateen-cni"`))
	n.write(n.o.ConfName, `{}`)
	n.eventually("our file is repaired", has(`"calico"`, `"lateen-cni"`))
	if err := os.Remove(n.conf()); err != nil {
		t.Fatal(err)
	}
	n.eventually("our file is back", has(`"calico"`, `"lateen-cni"`))
	binary := filepath.Join(n.o.BinDir, PluginName)
	if err := os.WriteFile(binary+".new", []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(binary+".new", binary); err != nil {
		t.Fatal(err)
	}
	n.eventually("our binary is back", func() bool {
		got, err := digest(binary)
		want, werr := digest(n.o.Binary)
		return err == nil && werr == nil && got == want
	})
	n.write("05-calico.conflist", `{"name":`)
	n.eventually("a half-written file is passed over", has(`"ptp"`))
	if err := errors.Join(os.Remove(filepath.Join(n.o.ConfDir, "05-calico.conflist")), os.Remove(filepath.Join(n.o.ConfDir, "10-ptp.conflist"))); err != nil {
		t.Fatal(err)
	}
	n.eventually("without a network there is none of ours", func() bool {
		_, err := os.Stat(n.conf())
		return errors.Is(err, os.ErrNotExist)
	})
	n.write("10-bridge.conf", `{"cniVersion":"1.0.0","name":"net","type":"bridge"}`)
	n.eventually("a single configuration", has(`"bridge"`, `"lateen-cni"`))
	entries, err := os.ReadDir(n.o.ConfDir)
	if err != nil || len(entries) != 2 {
		t.Errorf("the folder holds %v (%v)", entries, err)
	}
}

// TestInstallOrder: a configuration that would win over ours is told.
func TestInstallOrder(t *testing.T) {
	n := newNode(t)
	n.write("00-a.conflist", `{"cniVersion":"1.0.0","name":"net","plugins":[{"type":"ptp"}]}`)
	in := (&agent{o: n.o, log: n.o.Log, metrics: newMetrics()}).installer()
	if _, err := in.reconcile(); err == nil || !strings.Contains(err.Error(), "00-a.conflist comes before 00-lateen-cni.conflist by name") {
		t.Errorf("got %v", err)
	}
}

// TestInstallForMultus writes a configuration of its own.
func TestInstallForMultus(t *testing.T) {
	n := newNode(t)
	n.o.Chained, n.o.ConfName = false, "lateen-cni.conf"
	in := (&agent{o: n.o, log: n.o.Log, metrics: newMetrics()}).installer()
	if _, err := in.reconcile(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(n.conf())
	if err != nil {
		t.Fatal(err)
	}
	_, plugins, err := readList(text)
	if err != nil || len(plugins) != 1 || pluginType(plugins[0]) != PluginName {
		t.Errorf("got %v:\n%s", err, text)
	}
	if changed, err := in.reconcile(); changed || err != nil {
		t.Errorf("a second round: %v, %v", changed, err)
	}
}
