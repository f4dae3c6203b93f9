package internal

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Limits of the house: functions of at most 60 lines and files of at most 400
// are the aim; these are the hard bounds. Whoever must pass one says why here.
const (
	maxFileLines = 500
	maxFuncLines = 90
	maxPackage   = 5000
)

var houseExceptions = map[string]string{
	"proxy/config": "one node per message of xDS, of which there are many; the strictness tables are to become a package of their own",
	"cli":          "one file per command for two homes of a mesh; what speaks to the homes is to become a package of its own",
}

// forbiddenPackages are names that say nothing about what lies inside.
var forbiddenPackages = []string{"util", "utils", "common", "helpers", "types", "base", "misc", "shared"}

func TestHouse(t *testing.T) {
	lines := map[string]int{}
	used := map[string]bool{}
	for _, root := range []string{".", "../bench", "../cmd", "../samples", "../test"} {
		if _, err := os.Stat(root); err != nil {
			continue
		}
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() && slices.Contains(forbiddenPackages, d.Name()) {
				t.Errorf("%s: a package's name tells its room", path)
			}
			if d.IsDir() && d.Name() == "testdata" {
				return filepath.SkipDir
			}
			if !strings.HasSuffix(path, ".go") {
				return nil
			}
			return checkFile(t, path, lines, used)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for pkg, n := range lines {
		if n > maxPackage && houseExceptions[pkg] == "" {
			t.Errorf("%s: %d lines without tests, at most %d: split it by subject", pkg, n, maxPackage)
		}
	}
	for name := range houseExceptions {
		if !used[name] && lines[name] == 0 {
			t.Errorf("the exception for %s is no longer needed", name)
		}
	}
}

func checkFile(t *testing.T, path string, lines map[string]int, used map[string]bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, text, parser.ParseComments)
	if err != nil {
		return err
	}
	if ast.IsGenerated(file) {
		return nil
	}
	n := strings.Count(string(text), "\n")
	if strings.HasSuffix(path, "_test.go") {
		return nil // a table of cases may be long
	}
	lines[filepath.Dir(path)] += n
	if n > maxFileLines {
		if used[path] = true; houseExceptions[path] == "" {
			t.Errorf("%s: %d lines, at most %d", path, n, maxFileLines)
		}
	}
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		name := path + ":" + f.Name.Name
		if n := set.Position(f.End()).Line - set.Position(f.Pos()).Line + 1; n > maxFuncLines {
			if used[name] = true; houseExceptions[name] == "" {
				t.Errorf("%s: %d lines, at most %d", name, n, maxFuncLines)
			}
		}
	}
	return nil
}
