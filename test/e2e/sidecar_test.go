package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// Budgets of the sidecar: what every workload pays before it is asked anything.
const (
	maxSidecarBytes = 28 << 20 // of the stripped binary
	maxSidecarRSS   = 32 << 10 // KiB, waiting for its control plane
)

// TestSidecarIsSmall: the sidecar's binary and its memory stay within their
// budgets. What it links is held by internal/deps_test.go.
func TestSidecarIsSmall(t *testing.T) {
	path := filepath.Join(filepath.Dir(binary(t)), "lateen-proxy")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("lateen-proxy: %.1f MB", float64(info.Size())/(1<<20))
	if info.Size() > maxSidecarBytes {
		t.Errorf("lateen-proxy has %d bytes, the budget is %d", info.Size(), maxSidecarBytes)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "bootstrap.json")
	text := fmt.Sprintf(`{"xds":"unix://%s/none.sock","tokenFile":"%s/token","node":{"id":"sidecar~127.0.0.1~a-0.default~default.svc.cluster.local",
		"metadata":{"NAMESPACE":"default","SERVICE_ACCOUNT":"default"}},"admin":"unix://%s/admin.sock"}`, dir, dir, dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "run", "--config", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	eventually(t, 10*time.Second, func() error {
		_, err := os.Stat(filepath.Join(dir, "admin.sock"))
		return err
	})
	time.Sleep(time.Second)
	rss := rssKiB(t, cmd.Process.Pid)
	t.Logf("idle: %d KiB RSS", rss)
	if rss > maxSidecarRSS {
		t.Errorf("idle RSS is %d KiB, the budget is %d", rss, maxSidecarRSS)
	}
}
