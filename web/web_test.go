package web

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestReproducible builds the pages again, by the command that go generate runs: the
// bundle that is committed is what its sources give.
func TestReproducible(t *testing.T) {
	text, err := os.ReadFile("generate.go")
	if err != nil {
		t.Fatal(err)
	}
	_, line, ok := strings.Cut(string(text), "//go:generate ")
	if !ok {
		t.Fatal("generate.go says no command")
	}
	args := strings.Fields(line)
	out := t.TempDir()
	i := slices.Index(args, "--outdir=dist")
	if i < 0 {
		t.Fatalf("the command writes elsewhere: %s", line)
	}
	args[i] = "--outdir=" + out
	if output, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		if bytes.Contains(output, []byte("GOPROXY")) || bytes.Contains(output, []byte("dial tcp")) {
			t.Skipf("the builder cannot be fetched: %s", output)
		}
		t.Fatalf("%v\n%s", err, output)
	}
	made := contents(t, os.DirFS(out))
	committed := contents(t, Files())
	for name := range made {
		if !bytes.Equal(made[name], committed[name]) {
			t.Errorf("%s is not what its sources give: run go generate ./web", name)
		}
	}
	for name := range committed {
		if made[name] == nil {
			t.Errorf("%s has no source: remove it", name)
		}
	}
}

func contents(t *testing.T, from fs.FS) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := fs.WalkDir(from, ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files[name], err = fs.ReadFile(from, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestNothingFromElsewhere: the pages name no other host to load from, and have no
// script or style of their own in the HTML, which the console's policy refuses.
func TestNothingFromElsewhere(t *testing.T) {
	for name, text := range contents(t, Files()) {
		switch filepath.Ext(name) {
		case ".html":
			for _, bad := range []string{`<script>`, `<style`, ` style=`, ` onload=`, `src="http`, `href="http`, `src="//`, `href="//`} {
				if bytes.Contains(text, []byte(bad)) {
					t.Errorf("%s has %s", name, bad)
				}
			}
		case ".css":
			if m := regexp.MustCompile(`url\(["']?(https?:)?//[^)]*`).Find(text); m != nil {
				t.Errorf("%s loads %s", name, m)
			}
		case ".js":
			for _, m := range regexp.MustCompile(`["'`+"`"+`](https?|wss?)://[^"'`+"`"+`]+`).FindAllString(string(text), -1) {
				if !strings.Contains(m, "www.w3.org/") && m != `"http://${"` && !strings.Contains(m, "${") {
					t.Errorf("%s names %s", name, m)
				}
			}
		}
	}
}

// TestVendored: each library has its licence beside it and its line in VERSIONS.
func TestVendored(t *testing.T) {
	versions, err := os.ReadFile("vendor/VERSIONS")
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("vendor")
	if err != nil || len(entries) < 6 {
		t.Fatalf("%d entries, %v", len(entries), err)
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		if _, err := os.Stat(filepath.Join("vendor", e.Name(), "LICENSE")); err != nil {
			t.Error(err)
		}
		if !regexp.MustCompile(`(?m)^\S*` + e.Name() + `\S* \d+\.\d+\.\d+ \S+`).Match(versions) {
			t.Errorf("VERSIONS has no line for %s", e.Name())
		}
	}
}
