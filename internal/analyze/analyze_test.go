package analyze_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/lateen-mesh/lateen/internal/analyze"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// run gives the messages of one code about a file, one a line.
func run(t *testing.T, text []byte, code string) string {
	t.Helper()
	objects, others, err := api.DecodeMixed(bytes.NewReader(text), "x.yaml", "default")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range analyze.Run(analyze.Input{Objects: objects, Others: others}) {
		if m.Code == code {
			b.WriteString(m.String() + "\n")
		}
	}
	return b.String()
}

// TestCodes runs a case for each code: a file of objects about which it is said, what
// is said, and a file about which it is not.
func TestCodes(t *testing.T) {
	for _, c := range analyze.Codes() {
		t.Run(c.Code, func(t *testing.T) {
			path := filepath.Join("testdata", c.Code+".txtar")
			if unprovoked[c.Code] {
				if _, err := os.Stat(path); err == nil {
					t.Fatal("the code has a case and is said to have none")
				}
				return
			}
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatalf("every code has a case: %v", err)
			}
			got := run(t, archive.Files[0].Data, c.Code)
			if *update {
				archive.Files[1].Data = []byte(got)
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got == "" {
				t.Error("the case does not fire")
			}
			if got := run(t, archive.Files[2].Data, c.Code); got != "" {
				t.Errorf("silent.yaml says:\n%s", got)
			}
		})
	}
}

// unprovoked are codes that files alone do not bring about: a running control plane
// says them.
var unprovoked = map[string]bool{"IST0103": true, "LTN0004": true, "LTN0007": true}

// TestCodesOfARunningMesh gives verdicts as a control plane does.
func TestCodesOfARunningMesh(t *testing.T) {
	ref := verdict.Ref{Kind: "Deployment", Namespace: "default", Name: "a"}
	for _, c := range []struct {
		code    verdict.Code
		message string
		want    string
	}{
		{verdict.Waiting, "2 pods run without its proxy", ""},
		{verdict.Waiting, "1 of 2 pods runs without its proxy", "IST0103"},
		{verdict.Waiting, "waits", "LTN0004"},
		{verdict.Effective, "", ""},
	} {
		found := analyze.Verdicts([]verdict.Status{{Origin: verdict.Origin{Ref: ref}, Code: c.code, Message: c.message}})
		if c.want != "" && (len(found) != 1 || found[0].Code != c.want) {
			t.Errorf("%s %q: %v, want %s", c.code, c.message, found, c.want)
		}
	}
}

// TestEveryCodeIsSaidBySomebody: what analyzers may say stands in the table, and what
// stands in the table somebody says.
func TestEveryCodeIsSaidBySomebody(t *testing.T) {
	said := map[string]bool{}
	for name, list := range analyze.Analyzers() {
		for _, code := range list {
			said[code] = true
			if !slices.ContainsFunc(analyze.Codes(), func(c analyze.Code) bool { return c.Code == code }) {
				t.Errorf("%s says %s, which the table does not have", name, code)
			}
		}
	}
	form := regexp.MustCompile(`^(IST|LTN)\d{4}$`)
	last := ""
	istio := 0
	for _, c := range analyze.Codes() {
		if !said[c.Code] {
			t.Errorf("nobody says %s", c.Code)
		}
		if !form.MatchString(c.Code) || c.Name == "" || c.About == "" || c.Template == "" || c.Code <= last {
			t.Errorf("%+v after %s", c, last)
		}
		if strings.HasPrefix(c.Code, "IST") {
			istio++
		}
		last = c.Code
	}
	if istio < 40 {
		t.Errorf("%d codes of Istio", istio)
	}
}

// TestSuppressedByAnnotation: the annotation of an object leaves its messages out.
func TestSuppressedByAnnotation(t *testing.T) {
	for text, want := range map[string]bool{"IST0102": false, "IST0101, ist0102": false, "'*'": false, "IST0101": true} {
		file := "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, annotations: {galley.istio.io/analyze-suppress: " + strings.ReplaceAll("\""+text+"\"", "\"'*'\"", "\"*\"") + "}}\n"
		if got := run(t, []byte(file), "IST0102") != ""; got != want {
			t.Errorf("%s: said %v, want %v", text, got, want)
		}
	}
}

// TestChosen tells only of chosen objects.
func TestChosen(t *testing.T) {
	objects, _, err := api.DecodeMixed(strings.NewReader("apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: other}\n"), "", "default")
	if err != nil {
		t.Fatal(err)
	}
	found := analyze.Run(analyze.Input{Objects: objects, Chosen: func(r verdict.Ref) bool { return r.Name == "shop" }})
	if len(found) != 1 || found[0].Ref.Name != "shop" {
		t.Errorf("%v", found)
	}
	if found := analyze.Run(analyze.Input{Objects: objects, Proxied: true}); len(found) != 0 {
		t.Errorf("where every workload has a proxy: %v", found)
	}
}

func TestSuppression(t *testing.T) {
	m := analyze.Verdicts([]verdict.Status{{
		Origin: verdict.Origin{Ref: verdict.Ref{Kind: "VirtualService", Namespace: "default", Name: "reviews"}},
		Code:   verdict.Waiting, Message: "the host a is not known",
	}})[0]
	for text, want := range map[string]bool{
		"IST0101=VirtualService reviews.default": true, "ist0101=VirtualService *.default": true, "IST0101=*": true,
		"IST0102=VirtualService reviews.default": false, "IST0101=Service *": false, "IST0101=VirtualService reviews": false,
	} {
		s, err := analyze.ParseSuppression(text)
		if err != nil {
			t.Fatal(err)
		}
		if s.Matches(m) != want {
			t.Errorf("%s: %v", text, !want)
		}
	}
	if _, err := analyze.ParseSuppression("IST0101"); err == nil {
		t.Error("a code alone is read")
	}
}
