package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"
)

// TestReadmeCommand: what README says first works as it stands there: from the
// sources, with nothing but Go.
func TestReadmeCommand(t *testing.T) {
	m := newMesh(t, false)
	cmd := exec.Command("go", "run", "./cmd/lateen", "up", "--ports", "auto", "--detach", "-o", "json")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), m.command().Env[2:6]...) // the mesh's directories; Go's caches are the test's own
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go run ./cmd/lateen up: %v", err)
	}
	if err := json.Unmarshal(out, &m.Info); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	if code, _ := m.get("/productpage"); code != 200 {
		t.Errorf("productpage: %d", code)
	}
}
