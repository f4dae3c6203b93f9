package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const committed = "../../../charts/base/files/crds"

// TestCommittedIsUpToDate holds the committed files against the API module that
// go.mod names.
func TestCommittedIsUpToDate(t *testing.T) {
	out := t.TempDir()
	if err := run(out); err != nil {
		t.Fatal(err)
	}
	want, got := read(t, out), read(t, committed)
	if len(want) < 15 {
		t.Fatalf("only %d kinds", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("go generate ./internal/install; -generated +committed:\n%.2000s", diff)
	}
}

// TestOnlyLabelsDiffer: columns, rules and versions are as published.
func TestOnlyLabelsDiffer(t *testing.T) {
	dir, _, err := module(apiModule)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "kubernetes", "customresourcedefinitions.gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	published := string(text)
	for name, content := range read(t, committed) {
		_, spec, found := strings.Cut(content, "\nspec:\n")
		if !found || !strings.Contains(published, spec) {
			t.Errorf("%s is not what is published", name)
		}
	}
}

func TestSplitRefuses(t *testing.T) {
	for _, text := range []string{
		"kind: Service\nmetadata:\n  labels:\n    a: b\n  name: x\n",
		"kind: CustomResourceDefinition\nmetadata:\n  name: x\n",
		"kind: CustomResourceDefinition\nmetadata:\n  labels:\n    a: b\n",
	} {
		if _, err := split(text, "1"); err == nil {
			t.Errorf("accepted: %q", text)
		}
	}
}

func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(f)] = string(text)
	}
	return out
}
