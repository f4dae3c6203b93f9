package bed

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/test/kube/cluster"
)

// envResults is the file that the results are written to.
const envResults = "LATEEN_KUBE_RESULTS"

// results collects what the tests of this process found.
var results struct {
	sync.Mutex
	began time.Time
	tests []*result
}

// result is the outcome of one test.
type result struct {
	name    string
	outcome string
	took    time.Duration
	notes   []string
}

// watch notes a test's outcome when it ends.
func watch(t testing.TB) {
	results.Lock()
	defer results.Unlock()
	if results.began.IsZero() {
		results.began = time.Now()
	}
	r := find(t)
	began := time.Now()
	t.Cleanup(func() {
		results.Lock()
		defer results.Unlock()
		r.took = time.Since(began)
		switch {
		case t.Failed():
			r.outcome = "**failed**"
		case t.Skipped():
			r.outcome = "skipped"
		default:
			r.outcome = "passed"
		}
	})
}

// find gives the test's entry. Its caller holds the lock.
func find(t testing.TB) *result {
	i := slices.IndexFunc(results.tests, func(r *result) bool { return r.name == t.Name() })
	if i < 0 {
		results.tests = append(results.tests, &result{name: t.Name()})
		i = len(results.tests) - 1
	}
	return results.tests[i]
}

// Note logs a finding, and puts it into the results that `make kube` writes.
func Note(t testing.TB, format string, args ...any) {
	t.Helper()
	line := fmt.Sprintf(format, args...)
	t.Log(line)
	results.Lock()
	defer results.Unlock()
	r := find(t)
	r.notes = append(r.notes, line)
}

// writeResults writes all outcomes as Markdown, if a file was named.
func writeResults() error {
	path := os.Getenv(envResults)
	if path == "" {
		return nil
	}
	results.Lock()
	defer results.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "# Lateen on Kubernetes %s: results of `make kube`\n\n", cluster.Version)
	fmt.Fprintf(&b, "%s, commit %s, %d processors (%s), %s. Total %v. Written by the tests; do not edit.\n\n",
		time.Now().UTC().Format("2 January 2006"), commit(), runtime.NumCPU(), processor(), runtime.Version(), time.Since(results.began).Round(time.Second))
	b.WriteString("| test | outcome | seconds | what was found |\n|---|---|---|---|\n")
	for _, r := range results.tests {
		first := func(s string) string { line, _, _ := strings.Cut(s, "\n"); return strings.ReplaceAll(line, "|", "\\|") }
		var notes []string
		for _, n := range r.notes {
			notes = append(notes, first(n))
		}
		fmt.Fprintf(&b, "| %s | %s | %.0f | %s |\n", r.name, r.outcome, r.took.Seconds(), strings.Join(notes, "<br>"))
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// commit names what was tested.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=10").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// processor gives the model of the machine's processors.
func processor() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "model name"); ok {
			return strings.Trim(name, " \t:\n")
		}
	}
	return runtime.GOARCH
}
