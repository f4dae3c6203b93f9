// Package bed is what the tests on a real Kubernetes stand on: a cluster that is
// started once for all tests of a process (or found running), Lateen's images on
// its nodes, and the ways to act on it and to look at it.
package bed

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/kube/cluster"
)

// Bed is a running cluster with Lateen's images. Its methods fail the test that
// is passed to them. They may be called from several tests at a time.
type Bed struct {
	Cluster *cluster.Cluster
	Images  Images
	Root    string // of the repository
}

// environment variables that choose what runs.
const (
	envMode   = "LATEEN_KUBE"         // "full": all tests, not only the smoke
	envNumber = "LATEEN_KUBE_CLUSTER" // number of the cluster; 1 if not set
	envKeep   = "LATEEN_KUBE_KEEP"    // "1": the cluster stays when the tests are done
	envImages = "LATEEN_KUBE_IMAGES"  // "loaded": a running cluster's images are used as they are
)

// shared is the bed of this process.
var shared struct {
	sync.Mutex
	bed     *Bed
	skip    string // why there is none
	err     error
	started *cluster.Cluster // by us, so it is ours to end
	lock    *os.File         // held while the process lives
}

// Full says whether all tests run, and not only the smoke.
func Full() bool { return os.Getenv(envMode) == "full" }

// Use gives the process's bed, which it starts if there is none yet. It skips the
// test, with the reason, where a cluster cannot run.
func Use(t *testing.T) *Bed {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.bed == nil && shared.skip == "" && shared.err == nil {
		shared.bed, shared.skip, shared.err = start(t)
	}
	if shared.skip != "" {
		t.Skip(shared.skip)
	}
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	watch(t)
	return shared.bed
}

// UseFull is Use for tests that are too long for every run.
func UseFull(t *testing.T) *Bed {
	t.Helper()
	if !Full() {
		t.Skip("it takes minutes: run `make kube`")
	}
	return Use(t)
}

func start(t *testing.T) (bed *Bed, skip string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	root, err := Root()
	if err != nil {
		return nil, "", err
	}
	number := 1
	if s := os.Getenv(envNumber); s != "" {
		if number, err = strconv.Atoi(s); err != nil {
			return nil, "", fmt.Errorf("%s: %w", envNumber, err)
		}
	}
	c := cluster.New(cluster.Options{Number: number, Log: t.Logf})
	if missing := c.Missing(); missing != "" {
		return nil, missing, nil
	}
	if shared.lock, err = lock(c); err != nil {
		return nil, "", err
	}
	if !c.Running() {
		if err := c.Up(ctx); err != nil {
			return nil, "", err
		}
		shared.started = c
	}
	if shared.started == nil && os.Getenv(envImages) == "loaded" {
		return &Bed{Cluster: c, Images: builtImages(c, root), Root: root}, "", nil
	}
	began := time.Now()
	images, err := BuildImages(ctx, c)
	if err != nil {
		return nil, "", err
	}
	if err := c.Import(ctx, images.Archive); err != nil {
		return nil, "", err
	}
	t.Logf("images built and loaded in %.1f s", time.Since(began).Seconds())
	return &Bed{Cluster: c, Images: images, Root: root}, "", nil
}

// Main runs the tests and ends the cluster if they started it. It is for
// TestMain; the result is the exit code.
func Main(m *testing.M) int {
	code := m.Run()
	if err := writeResults(); err != nil {
		fmt.Fprintln(os.Stderr, "writing the results:", err)
		code = max(code, 1)
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.started == nil || os.Getenv(envKeep) == "1" {
		return code
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := shared.started.Down(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "ending the cluster:", err)
		return max(code, 1)
	}
	return code
}

// lock makes sure that no other test process uses the same cluster: each would
// install and uninstall under the other's feet.
func lock(c *cluster.Cluster) (*os.File, error) {
	f, err := os.OpenFile(c.Binary(fmt.Sprintf("cluster%d.lock", c.Number())), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another test process uses the cluster (%s is locked)", f.Name())
	}
	return f, nil
}

// Sample reads a file of samples/yaml.
func (b *Bed) Sample(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(b.Root, "samples/yaml", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Eventually calls f until it succeeds, every 200 ms, and fails the test after
// limit with f's last error.
func Eventually(t testing.TB, limit time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
