package validate_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden checks each file's objects against the errors and warnings that
// stand beside them. Files named good-* say nothing.
func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases (%v)", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			objects, err := api.Decode(bytes.NewReader(archive.Files[0].Data), archive.Files[0].Name)
			if err != nil {
				t.Fatal(err)
			}
			var errs, warnings strings.Builder
			for _, o := range objects {
				for _, e := range validate.Object(o) {
					errs.WriteString(e.Error() + "\n")
				}
				for _, e := range validate.Warnings(o) {
					warnings.WriteString(e.Error() + "\n")
				}
			}
			if strings.HasPrefix(filepath.Base(path), "good-") && errs.Len()+warnings.Len() > 0 {
				t.Errorf("good objects say:\n%s%s", &errs, &warnings)
			}
			if *update {
				archive.Files[1].Data, archive.Files[2].Data = []byte(errs.String()), []byte(warnings.String())
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), errs.String()); diff != "" {
				t.Errorf("errors (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(string(archive.Files[2].Data), warnings.String()); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// TestSamples: the project's own samples are valid.
func TestSamples(t *testing.T) {
	paths, err := filepath.Glob("../../../samples/yaml/*/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no samples (%v)", err)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := api.Decode(bytes.NewReader(text), path)
		if err != nil {
			t.Error(err)
		}
		for _, o := range objects {
			if err := validate.Error(o); err != nil {
				t.Error(err)
			}
		}
	}
}
