package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"

	corev1 "k8s.io/api/core/v1"
)

var update = flag.Bool("update", false, "write the results into testdata")

// golden is one case of testdata/cases. A case with a base has its input, changed
// by the files labels.yaml, annotations.yaml (of the pod) and pod.yaml (a strategic
// merge patch of the pod), and its result is what differs from the base's. Other
// files: mesh.yaml, config.yaml, values.yaml, namespace.yaml, settings.yaml.
type golden struct {
	t       *testing.T
	path    string
	archive *txtar.Archive
	base    *golden

	out   []byte
	notes string
}

func readGolden(t *testing.T, name string) *golden {
	t.Helper()
	g := &golden{t: t, path: filepath.Join("testdata", "cases", name+".txtar")}
	text, err := os.ReadFile(g.path)
	if err != nil {
		t.Fatal(err)
	}
	g.archive = txtar.Parse(text)
	for line := range strings.Lines(string(g.archive.Comment)) {
		if base, ok := strings.CutPrefix(strings.TrimSpace(line), "base: "); ok {
			g.base = readGolden(t, base)
		}
	}
	return g
}

func (g *golden) file(name string) []byte {
	for _, f := range g.archive.Files {
		if f.Name == name {
			return f.Data
		}
	}
	return nil
}

func (g *golden) read(name string, to any) {
	g.t.Helper()
	if err := yaml.UnmarshalStrict(g.file(name), to); err != nil {
		g.t.Fatalf("%s: %s: %v", g.path, name, err)
	}
}

// input is the case's own, or the base's with changes.
func (g *golden) input() []byte {
	if text := g.file("input.yaml"); text != nil || g.base == nil {
		return text
	}
	var object map[string]any
	if err := yaml.Unmarshal(g.base.input(), &object); err != nil {
		g.t.Fatal(err)
	}
	at := object
	for _, name := range templatePath(object, fmt.Sprint(object["kind"])) {
		at = at[name].(map[string]any)
	}
	var patch struct{ Labels, Annotations map[string]string }
	g.read("labels.yaml", &patch.Labels)
	g.read("annotations.yaml", &patch.Annotations)
	text, err := json.Marshal(at)
	if err != nil {
		g.t.Fatal(err)
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(text, pod); err != nil {
		g.t.Fatal(err)
	}
	before := pod
	meta := map[string]any{"annotations": patch.Annotations, "labels": patch.Labels}
	maps.DeleteFunc(meta, func(_ string, m any) bool { return len(m.(map[string]string)) == 0 }) // null would delete
	change, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		g.t.Fatal(err)
	}
	if pod, err = merge(pod, change); err != nil {
		g.t.Fatal(err)
	}
	if more := g.file("pod.yaml"); more != nil {
		js, err := yaml.YAMLToJSONStrict(more)
		if err != nil {
			g.t.Fatal(err)
		}
		if pod, err = merge(pod, js); err != nil {
			g.t.Fatal(err)
		}
	}
	was, err := plain(before)
	if err != nil {
		g.t.Fatal(err)
	}
	is, err := plain(pod)
	if err != nil {
		g.t.Fatal(err)
	}
	maps.Copy(at, transplant(at, was, is).(map[string]any))
	out, err := yaml.Marshal(object)
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}

// injector is made of the case's files.
func (g *golden) injector() (*Injector, error) {
	g.t.Helper()
	var s struct{ Revision, SystemNamespace string }
	g.read("settings.yaml", &s)
	values, err := ParseValues(g.file("values.yaml"))
	if err != nil {
		return nil, err
	}
	config, err := ParseConfig(g.file("config.yaml"))
	if err != nil {
		return nil, err
	}
	mesh, err := ParseMesh(g.file("mesh.yaml"))
	if err != nil {
		return nil, err
	}
	return New(Settings{Config: config, Values: values, Mesh: mesh, Revision: s.Revision, SystemNamespace: s.SystemNamespace})
}

// run injects, and injects the result again.
func (g *golden) run() {
	g.t.Helper()
	in, err := g.injector()
	if err != nil {
		g.notes = "settings: " + err.Error() + "\n"
		return
	}
	ns := Namespace{Name: "default"}
	g.read("namespace.yaml", &ns)
	input := g.input()
	out, notes, err := in.Documents(input, ns)
	if err != nil {
		var denied bool
		if e := (*UserError)(nil); errors.As(err, &e) {
			denied = true
		}
		g.notes = fmt.Sprintf("error (denied: %t): %v\n", denied, err)
		return
	}
	g.out, g.notes = out, describe(notes)
	again, _, err := in.Documents(out, ns)
	if err != nil {
		g.t.Fatalf("injecting the result: %v", err)
	}
	if d := cmp.Diff(string(out), string(again)); d != "" {
		g.t.Errorf("injecting the result changes it (-once +twice):\n%s", d)
	}
}

func describe(notes []Note) string {
	var b strings.Builder
	for _, n := range notes {
		if !n.Decision.Inject || n.Decision.Reason != ReasonPolicy {
			fmt.Fprintf(&b, "%s: injected %t: %s: %s\n", n.Object, n.Decision.Inject, n.Decision.Reason, n.Decision.Message)
		}
		for _, v := range n.Verdicts {
			fmt.Fprintf(&b, "%s\n", v)
		}
	}
	return b.String()
}

func parse(t *testing.T, text []byte) any {
	t.Helper()
	var object any
	if err := yaml.Unmarshal(text, &object); err != nil {
		t.Fatal(err)
	}
	return object
}

// difference lists what is gone, new or other, by its path; items of lists are
// named where they have names.
func difference(b *bytes.Buffer, path string, was, is any) {
	line := func(sign string, v any) {
		text, _ := compactJSON(v)
		fmt.Fprintf(b, "%s %s = %s\n", sign, strings.TrimPrefix(path, "."), text)
	}
	w, wasMap := was.(map[string]any)
	i, isMap := is.(map[string]any)
	if wasMap && isMap {
		differenceOfMaps(b, path+".", "", w, i)
		return
	}
	if reflect.DeepEqual(was, is) {
		return
	}
	wl, wasNamed := byName(was)
	il, isNamed := byName(is)
	if wasNamed && isNamed && was != nil && is != nil {
		if x, y := names(was), names(is); !slices.Equal(x, y) {
			fmt.Fprintf(b, "~ %s = %s\n", strings.TrimPrefix(path, "."), y)
		}
		differenceOfMaps(b, path+"[", "]", wl, il)
		return
	}
	if was != nil {
		line("-", was)
	}
	if is != nil {
		line("+", is)
	}
}

func differenceOfMaps(b *bytes.Buffer, before, after string, was, is map[string]any) {
	all := maps.Clone(was)
	maps.Copy(all, is)
	for _, k := range slices.Sorted(maps.Keys(all)) {
		difference(b, before+k+after, was[k], is[k])
	}
}

func names(list any) []string {
	var out []string
	for _, x := range list.([]any) {
		out = append(out, nameOf(x))
	}
	return out
}

func TestGolden(t *testing.T) {
	paths, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	if len(paths) < 40 {
		t.Fatalf("%d cases", len(paths))
	}
	bases := map[string][]byte{} // results by path
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txtar")
		t.Run(name, func(t *testing.T) {
			g := readGolden(t, name)
			g.run()
			want := map[string][]byte{}
			if g.notes != "" {
				want["notes.txt"] = []byte(g.notes)
			}
			switch {
			case g.out == nil, string(g.out) == string(g.input()):
			case g.base == nil:
				want["out.yaml"] = g.out
			default:
				base := g.base.path
				if bases[base] == nil {
					g.base.run()
					bases[base] = g.base.out
				}
				var b bytes.Buffer
				difference(&b, "", parse(t, bases[base]), parse(t, g.out))
				want["diff.txt"] = b.Bytes()
			}
			g.compare(want)
		})
	}
}

func (g *golden) compare(got map[string][]byte) {
	g.t.Helper()
	results := []string{"notes.txt", "diff.txt", "out.yaml"}
	if *update {
		files := slices.DeleteFunc(g.archive.Files, func(f txtar.File) bool { return slices.Contains(results, f.Name) })
		for _, name := range results {
			if text := got[name]; text != nil {
				files = append(files, txtar.File{Name: name, Data: text})
			}
		}
		g.archive.Files = files
		if err := os.WriteFile(g.path, txtar.Format(g.archive), 0o666); err != nil {
			g.t.Fatal(err)
		}
		return
	}
	for _, name := range results {
		if d := cmp.Diff(string(g.file(name)), string(got[name])); d != "" {
			g.t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
}
