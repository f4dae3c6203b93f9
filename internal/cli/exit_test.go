package cli_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/cli"
)

// TestExitCodes runs commands in process; no mesh runs.
func TestExitCodes(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		args  string
		stdin string
		want  int
	}{
		{"validate -f -", "{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}", cli.ExitOK},
		{"validate -f -", "{apiVersion: v1, kind: ConfigMap, metadata: {name: A}}", cli.ExitBadData},
		{"validate -f -", "kind: [", cli.ExitBadData},
		{"validate -f " + dir + "/missing.yaml", "", cli.ExitFailure},
		{"validate", "", cli.ExitUsage},
		{"validate extra", "", cli.ExitUsage},
		{"apply --no-such-flag", "", cli.ExitUsage},
		{"apply -f https://example.com/x.yaml", "", cli.ExitUsage},
		{"apply -f - --dry-run=maybe", "", cli.ExitUsage},
		{"apply -f -", "", cli.ExitFailure},
		{"get", "", cli.ExitUsage},
		{"get vs/a b", "", cli.ExitUsage},
		{"get vs a/b", "", cli.ExitUsage},
		{"get vs a -A", "", cli.ExitUsage},
		{"get ghosts", "", cli.ExitFailure},
		{"status vs a b", "", cli.ExitUsage},
		{"status -o wide", "", cli.ExitUsage},
		{"delete vs", "", cli.ExitUsage},
		{"delete vs a -l b=c", "", cli.ExitUsage},
		{"delete vs a", "", cli.ExitFailure},
	} {
		var out, errs bytes.Buffer
		env := &cli.Env{In: strings.NewReader(c.stdin), Out: &out, Err: &errs, Getenv: func(name string) string {
			if name == "XDG_RUNTIME_DIR" {
				return dir
			}
			return ""
		}}
		if got := cli.Run(t.Context(), env, strings.Fields(c.args)); got != c.want {
			t.Errorf("%s: exit code %d, want %d\n%s", c.args, got, c.want, &errs)
		}
		if c.want != cli.ExitOK && (errs.Len() == 0 || out.Len() > 0) {
			t.Errorf("%s: stdout %q, stderr %q", c.args, &out, &errs)
		}
	}
}
