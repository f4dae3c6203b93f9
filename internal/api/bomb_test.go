package api_test

import (
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
)

// TestHostileInput: small inputs that mean large or deep values are refused, or
// at least read, in little time.
func TestHostileInput(t *testing.T) {
	header := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
	for name, text := range map[string]string{
		"deep list":         header + "data: " + strings.Repeat("[", 9000) + "\n",
		"deep json":         `{"apiVersion":` + strings.Repeat("[", 200_000),
		"deep map":          header + "data: " + strings.Repeat("{a: ", 9000) + "\n",
		"many documents":    strings.Repeat("---\na: [\n", 5_000),
		"many keys":         header + "data:\n" + strings.Repeat("  a: b\n", 50_000),
		"merge of merges":   "a: &a {" + manyKeys(2000) + "}\nb: [" + strings.Repeat("{<<: *a}, ", 2000) + "]\n",
		"late syntax error": header + "data:\n" + strings.Repeat("  x: |\n    y\n", 5_000) + "\t- x\n",
		"large and broken":  "a: |\n" + strings.Repeat(" y\n", 1<<20) + "b: [\n",
		"wide aliases":      "a: &a [" + strings.Repeat("x, ", 3000) + "]\nb: [" + strings.Repeat("*a, ", 3000) + "]\n",
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			if _, err := api.Decode(strings.NewReader(text), "hostile"); err == nil {
				t.Error("accepted")
			} else if len(err.Error()) > 100_000 {
				t.Errorf("the error has %d bytes", len(err.Error()))
			}
			// Milliseconds on a quiet machine; the bound is for busy ones.
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("took %s for %d bytes", d, len(text))
			} else {
				t.Logf("%s for %d bytes", d, len(text))
			}
		})
	}
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString("k" + strings.Repeat("x", i%7) + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + ": 1, ")
	}
	return b.String()
}
