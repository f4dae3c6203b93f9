// Command crds writes the kinds of Istio's APIs into the chart base, one file for
// each: the published definitions of the API module that go.mod names, byte for
// byte but for the labels, which say whose they are.
//
//	go run ./internal/install/crds -out charts/base/files/crds
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

const apiModule = "istio.io/api"

func main() {
	out := flag.String("out", "", "directory to write to; files of kinds that are gone are removed")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "crds:", err)
		os.Exit(1)
	}
}

func run(out string) error {
	if out == "" {
		return fmt.Errorf("-out is required")
	}
	dir, version, err := module(apiModule)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(dir, "kubernetes", "customresourcedefinitions.gen.yaml"))
	if err != nil {
		return err
	}
	files, err := split(string(text), version)
	if err != nil {
		return err
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(out, name+".yaml"), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// module gives the directory and the version of a module of the build list.
func module(path string) (dir, version string, err error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}} {{.Version}}", path).Output()
	if err != nil {
		return "", "", fmt.Errorf("go list -m %s: %w", path, err)
	}
	f := strings.Fields(string(out))
	if len(f) != 2 {
		return "", "", fmt.Errorf("go list -m %s: %q", path, out)
	}
	return f[0], strings.TrimPrefix(f[1], "v"), nil
}

var (
	nameLine   = regexp.MustCompile(`(?m)^  name: (\S+)$`)
	labelLines = regexp.MustCompile(`(?m)^  labels:\n(?:    .*\n)*`)
)

// split gives the definitions by their names. Those of other projects' labels
// would let Istio's tools take ours for theirs; ours also name the API's version,
// which tells whoever upgrades what is newer.
func split(text, version string) (map[string]string, error) {
	files := map[string]string{}
	for doc := range strings.SplitSeq(text, "\n---\n") {
		doc = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(doc), "---"))
		name := nameLine.FindStringSubmatch(doc)
		if !strings.Contains(doc, "kind: CustomResourceDefinition") {
			return nil, fmt.Errorf("not a definition: %.80q", doc)
		}
		if name == nil || len(labelLines.FindAllString(doc, -1)) != 1 {
			return nil, fmt.Errorf("no name or no labels: %.80q", doc)
		}
		labels := "  labels:\n" +
			"    app.kubernetes.io/part-of: lateen\n" +
			"    app.kubernetes.io/version: \"" + version + "\"\n"
		files[name[1]] = labelLines.ReplaceAllString(doc, labels) + "\n"
	}
	return files, nil
}
