package behave

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// feature is a line of docs/features.md.
type feature struct {
	row, what, ours, envoy, since, tests string
	line                                 int
}

var rowLine = regexp.MustCompile(`^\| ([A-Z][0-9]+) \|`)

func features(t *testing.T) map[string]feature {
	t.Helper()
	text, err := os.ReadFile("../../docs/features.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]feature{}
	for i, line := range strings.Split(string(text), "\n") {
		if !rowLine.MatchString(line) {
			continue
		}
		f := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")
		if len(f) != 8 {
			t.Errorf("docs/features.md:%d: %d columns, want 6", i+1, len(f)-2)
			continue
		}
		for j := range f {
			f[j] = strings.TrimSpace(f[j])
		}
		x := feature{row: f[1], what: f[2], ours: f[3], envoy: f[4], since: f[5], tests: f[6], line: i + 1}
		if _, twice := out[x.row]; twice {
			t.Errorf("docs/features.md:%d: %s stands there twice", i+1, x.row)
		}
		out[x.row] = x
	}
	return out
}

var state = regexp.MustCompile(`^(-|yes|(part|no): .+)$`)

// TestFeatures holds docs/features.md to the tests that there are.
func TestFeatures(t *testing.T) {
	rows := features(t)
	kinds := map[string]map[string]bool{} // by row and data plane
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		c, err := loadCase(file)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, row := range c.rows {
			x, ok := rows[row]
			if !ok {
				t.Errorf("%s: docs/features.md has no row %s", file, row)
			}
			if x.ours == "-" && x.envoy == "-" {
				t.Errorf("docs/features.md:%d: %s has cases (%s): say what is done of it", x.line, row, c.name)
			}
			for _, plane := range []string{ours, envoy} {
				if c.except[plane] == "" {
					key := row + " " + plane
					if kinds[key] == nil {
						kinds[key] = map[string]bool{}
					}
					kinds[key][c.kind] = true
				}
			}
		}
		if prefix, _, _ := strings.Cut(c.name, "-"); !slices.Contains(c.rows, prefix) {
			t.Errorf("%s: its name begins with no row of its own", file)
		}
	}
	for _, x := range rows {
		checkFeature(t, x, kinds)
	}
}

func checkFeature(t *testing.T, x feature, kinds map[string]map[string]bool) {
	t.Helper()
	for plane, s := range map[string]string{ours: x.ours, envoy: x.envoy} {
		if !state.MatchString(s) {
			t.Errorf("docs/features.md:%d: %s: %q is neither yes, part: …, no: … nor -", x.line, x.row, s)
		}
		if s != "yes" || x.tests != "" {
			continue
		}
		for _, kind := range []string{"positive", "negative", "interaction"} {
			if !kinds[x.row+" "+plane][kind] {
				t.Errorf("docs/features.md:%d: %s is said to be done on %s, and has no %s case there", x.line, x.row, plane, kind)
			}
		}
	}
	for name := range strings.FieldsFuncSeq(x.tests, func(r rune) bool { return r == ',' || r == ' ' || r == '`' }) {
		if err := testExists(name); err != nil {
			t.Errorf("docs/features.md:%d: %s: %v", x.line, x.row, err)
		}
	}
}

// testExists finds PACKAGE:TestName, the package's directory in the repository.
func testExists(name string) error {
	pkg, test, ok := strings.Cut(name, ":")
	if !ok {
		return fmt.Errorf("%q: want PACKAGE:TestName", name)
	}
	out, err := exec.Command("grep", "-rlE", `^func `+regexp.QuoteMeta(test)+`\(`, "--include=*_test.go", filepath.Join("../..", pkg)).Output()
	if err != nil || len(out) == 0 {
		return fmt.Errorf("%s has no %s", pkg, test)
	}
	return nil
}
