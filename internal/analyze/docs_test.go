package analyze_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/analyze"
	"github.com/lateen-mesh/lateen/internal/api"
)

const verdictsFile = "../../docs/verdicts.md"

// TestVerdictsAreDocumented: docs/verdicts.md is what the data says. -update writes it.
func TestVerdictsAreDocumented(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Verdicts

Every object, and every field that matters, has a verdict: it acts as written, or something says why not. The same words stand
in ` + "`lateen status`, in `lateen apply --wait`, in the status conditions on Kubernetes and, with a code, in `lateen analyze`" + `.
This page is generated from the data by a test in ` + "`internal/analyze`" + `.

| verdict | what it means |
|---|---|
`)
	for _, v := range analyze.Meanings() {
		fmt.Fprintf(&b, "| %s | %s |\n", v.Code, v.About)
	}
	b.WriteString(`
## Kinds that do not act yet

| kind | verdict | what is said |
|---|---|---|
`)
	for _, k := range api.Kinds() {
		if code, message, ok := k.Idle(); ok {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", k.ID(), code, message)
		}
	}
	b.WriteString(`
## Codes of ` + "`lateen analyze`" + `

Codes, names and levels that begin with IST are Istio's; LTN codes are for what Istio has no message for. The exit code is 79
if a message is as grave as ` + "`--failure-threshold`" + ` (Error).

| code | level | name | looks for |
|---|---|---|---|
`)
	for _, c := range analyze.Codes() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", c.Code, c.Level, c.Name, c.About)
	}
	if *update {
		if err := os.WriteFile(verdictsFile, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(verdictsFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(have), b.String()); diff != "" {
		t.Errorf("docs/verdicts.md (-have +want):\n%s", diff)
	}
}
