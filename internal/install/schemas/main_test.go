package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCommittedIsUpToDate holds each chart's schema against its values.
func TestCommittedIsUpToDate(t *testing.T) {
	files, err := filepath.Glob("../../../charts/*/values.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d charts: %v", len(files), err)
	}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		want, err := schema(filepath.Base(filepath.Dir(f)), text)
		if err != nil {
			t.Fatalf("%s: %v", f, err)
		}
		got, err := os.ReadFile(filepath.Join(filepath.Dir(f), "values.schema.json"))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: go generate ./internal/install; -generated +committed:\n%s", f, diff)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"pilot: {}": "must lie below", defaultsKey + ": {}\nother: {}": "must lie below", "a: [": "",
	} {
		if _, err := schema("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
