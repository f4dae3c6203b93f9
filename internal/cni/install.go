package cni

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// installer keeps the plugin's binary and configuration on the node as they
// should be.
//
// The configuration is a file of our own that comes before the others by name and
// holds what the first of them holds, and our plugin. So the other agent's file is
// never written, whatever that agent does to it is followed, and after a reboot the
// node does not start pods without our plugin until we run again.
type installer struct {
	binary   string // what to copy
	binDir   string
	confDir  string
	confName string
	plugin   pluginConfig
	chained  bool
	log      *slog.Logger
	metrics  *metrics

	copied fs.FileInfo // of the binary, as we left it; owned by run
}

// run installs, and repairs after each change of the folders and every 30 s, until
// ctx ends. It calls state after each round with nil or with what is wrong.
func (i *installer) run(ctx context.Context, state func(error)) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watching the configuration: %w", err)
	}
	defer w.Close()
	for _, dir := range []string{i.confDir, i.binDir} {
		if err := w.Add(dir); err != nil {
			return fmt.Errorf("watching %s: %w", dir, err)
		}
	}
	again := time.NewTicker(30 * time.Second)
	defer again.Stop()
	for {
		changed, err := i.reconcile()
		switch {
		case err != nil:
			i.log.Warn("the plugin is not installed", "error", err)
			i.metrics.installs.WithLabelValues("failure").Inc()
		case changed:
			i.log.Info("the plugin is installed", "folder", i.confDir, "file", i.confName)
			i.metrics.installs.WithLabelValues("success").Inc()
		}
		state(err)
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.Errors:
			i.log.Warn("watching the configuration", "error", err)
		case <-w.Events:
			settle(ctx, w)
		case <-again.C:
		}
	}
}

// settle lets a burst of events pass: others write their files in several steps.
func settle(ctx context.Context, w *fsnotify.Watcher) {
	quiet := time.NewTimer(100 * time.Millisecond)
	defer quiet.Stop()
	for {
		select {
		case <-w.Events:
		case <-quiet.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// reconcile makes binary and configuration what they should be, and says whether
// anything was not.
func (i *installer) reconcile() (changed bool, err error) {
	copied, err := i.copyBinary()
	if err != nil {
		return false, err
	}
	text, err := i.config()
	if errors.Is(err, errNoNetwork) {
		// Ours alone would make the node look ready.
		return copied, errors.Join(err, remove(filepath.Join(i.confDir, i.confName)))
	}
	if err != nil {
		return copied, err
	}
	written, err := writeFile(filepath.Join(i.confDir, i.confName), text, 0o644)
	return copied || written, err
}

// multusNetwork is the network that injection names to Multus, in the pod's
// annotation k8s.v1.cni.cncf.io/networks.
const multusNetwork = "istio-cni"

// config gives the text of our configuration file.
func (i *installer) config() ([]byte, error) {
	if !i.chained {
		own := i.plugin
		own.Name, own.CNIVersion = multusNetwork, "1.0.0"
		text, err := json.MarshalIndent(own, "", "  ")
		return append(text, '\n'), err
	}
	path, primary, err := findPrimary(i.confDir, i.confName)
	if err != nil {
		return nil, err
	}
	if name := filepath.Base(path); name < i.confName {
		return nil, fmt.Errorf("%s comes before %s by name, so that runtimes use it: choose a smaller --conf-name", name, i.confName)
	}
	text, err := chain(primary, i.plugin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return text, nil
}

// uninstall takes the configuration away, then the binary.
func (i *installer) uninstall() error {
	return errors.Join(remove(filepath.Join(i.confDir, i.confName)), remove(filepath.Join(i.binDir, PluginName)))
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// writeFile replaces a file as a whole, unless it has that text.
func writeFile(path string, text []byte, mode fs.FileMode) (changed bool, err error) {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, text) {
		return false, nil
	}
	return true, replace(path, bytes.NewReader(text), mode)
}

// copyBinary installs the plugin's program, unless the same is there.
func (i *installer) copyBinary() (changed bool, err error) {
	to := filepath.Join(i.binDir, PluginName)
	now, err := os.Stat(to)
	if err == nil && i.copied != nil && os.SameFile(now, i.copied) && now.ModTime().Equal(i.copied.ModTime()) {
		return false, nil
	}
	want, err := digest(i.binary)
	if err != nil {
		return false, err
	}
	if got, err := digest(to); err != nil || got != want {
		changed = true
		f, err := os.Open(i.binary)
		if err != nil {
			return false, err
		}
		if err := errors.Join(replace(to, f, 0o755), f.Close()); err != nil {
			return false, err
		}
	}
	i.copied, err = os.Stat(to)
	return changed, err
}

func digest(path string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(path)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(h.Sum(nil)), nil
}

// replace writes beside the file and renames, so that nobody sees a part, and a
// running program keeps its own. The name beside has no ending that runtimes look
// for.
func replace(path string, content io.Reader, mode fs.FileMode) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, remove(f.Name()))
		}
	}()
	if _, err := io.Copy(f, content); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
