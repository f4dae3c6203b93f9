package inject

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Note says what became of one object with a pod template.
type Note struct {
	Object   verdict.Ref
	Decision Decision
	Verdicts []verdict.Status // paths are those of the pod
}

// Documents injects all pods and pod templates of a stream of YAML or JSON
// documents: those of Pod, CronJob, List, and of every kind that has spec.template
// with containers. What is not changed, above all a document that has been injected
// before, stays byte for byte. namespace is that of objects which name none.
func (in *Injector) Documents(stream []byte, namespace Namespace) ([]byte, []Note, error) {
	d := documents{in: in, namespace: namespace}
	var out bytes.Buffer
	for _, part := range split(stream) {
		text, err := d.document(part.text)
		if err != nil {
			return nil, nil, fmt.Errorf("line %d: %w", part.line, err)
		}
		out.WriteString(part.separator)
		out.Write(text)
	}
	return out.Bytes(), d.notes, nil
}

// part is one document of a stream with the line that separates it from those before.
type part struct {
	separator string
	text      []byte
	line      int // of its first line, from 1
}

// split cuts a stream at its "---" lines. Joined again, the parts are the stream.
func split(stream []byte) []part {
	parts := []part{{line: 1}}
	n := 0
	for line := range bytes.Lines(stream) {
		n++
		if rest, ok := bytes.CutPrefix(line, []byte("---")); ok && (len(bytes.TrimSpace(rest)) == 0 || rest[0] == ' ' && bytes.HasPrefix(bytes.TrimSpace(rest), []byte("#"))) {
			parts = append(parts, part{separator: string(line), line: n + 1})
			continue
		}
		last := &parts[len(parts)-1]
		last.text = append(last.text, line...)
	}
	return parts
}

type documents struct {
	in        *Injector
	namespace Namespace
	notes     []Note
}

func (d *documents) document(text []byte) ([]byte, error) {
	js, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, err
	}
	var object any
	decoder := json.NewDecoder(bytes.NewReader(js))
	decoder.UseNumber()
	if err := decoder.Decode(&object); err != nil {
		return nil, err
	}
	m, ok := object.(map[string]any)
	if !ok {
		return text, nil // empty, or nothing of ours
	}
	injected, err := d.object(m)
	if err != nil || reflect.DeepEqual(injected, m) {
		return text, err
	}
	out, err := yaml.Marshal(injected)
	return append(comments(text), out...), err
}

// comments are the lines before the first key, a licence for instance.
func comments(text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if t := bytes.TrimSpace(line); len(t) > 0 && t[0] != '#' {
			break
		}
		out = append(out, line...)
	}
	return out
}

// object gives the object with its pod injected.
func (d *documents) object(m map[string]any) (map[string]any, error) {
	kind, _ := m["kind"].(string)
	if items, ok := m["items"].([]any); ok && strings.HasSuffix(kind, "List") {
		return d.list(m, items)
	}
	path := templatePath(m, kind)
	if path == nil {
		return m, nil
	}
	return d.at(m, m, path)
}

func (d *documents) list(m map[string]any, items []any) (map[string]any, error) {
	var errs []error
	all := make([]any, len(items))
	for i, item := range items {
		all[i] = item
		if o, ok := item.(map[string]any); ok {
			injected, err := d.object(o)
			if err != nil {
				errs = append(errs, fmt.Errorf("items[%d]: %w", i, err))
				continue
			}
			all[i] = injected
		}
	}
	return with(m, "items", all), errors.Join(errs...)
}

// templatePath is where the object has its pod; nil: nowhere.
func templatePath(m map[string]any, kind string) []string {
	if kind == "Pod" {
		return []string{}
	}
	for _, path := range [][]string{{"spec", "template"}, {"spec", "jobTemplate", "spec", "template"}} {
		at := m
		for _, name := range path {
			at, _ = at[name].(map[string]any)
		}
		spec, _ := at["spec"].(map[string]any)
		if _, ok := spec["containers"].([]any); ok {
			return path
		}
	}
	return nil
}

// at gives a copy of m with the pod at the path injected; root is the whole object.
func (d *documents) at(root, m map[string]any, path []string) (map[string]any, error) {
	if len(path) == 0 {
		return d.pod(root, m)
	}
	inner, _ := m[path[0]].(map[string]any)
	injected, err := d.at(root, inner, path[1:])
	if err != nil {
		return nil, err
	}
	return with(m, path[0], injected), nil
}

func with(m map[string]any, key string, value any) map[string]any {
	out := make(map[string]any, len(m)+1)
	for k, v := range m {
		out[k] = v
	}
	out[key] = value
	return out
}

// pod injects a pod, or the template of the workload root.
func (d *documents) pod(root, m map[string]any) (map[string]any, error) {
	meta, _ := root["metadata"].(map[string]any)
	text := func(from map[string]any, key string) string { s, _ := from[key].(string); return s }
	owner := Owner{
		APIVersion: text(root, "apiVersion"), Kind: text(root, "kind"),
		Namespace: cmp.Or(text(meta, "namespace"), d.namespace.Name), Name: text(meta, "name"),
	}
	note := Note{Object: verdict.Ref{Kind: owner.Kind, Namespace: text(meta, "namespace"), Name: cmp.Or(owner.Name, text(meta, "generateName"))}}
	js, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	pod := &corev1.Pod{}
	if err := json.Unmarshal(js, pod); err != nil {
		return nil, fmt.Errorf("%s: %w", note.Object, err)
	}
	ns := d.namespace
	if name := cmp.Or(pod.Namespace, text(meta, "namespace")); name != "" && name != ns.Name {
		ns = Namespace{Name: name}
	}
	if owner.Kind == "Pod" {
		owner = Owner{}
	}
	result, err := d.in.Inject(Request{Pod: pod, Namespace: ns, Owner: owner})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", note.Object, err)
	}
	note.Decision, note.Verdicts = result.Decision, result.Verdicts
	d.notes = append(d.notes, note)
	if !result.Decision.Inject {
		return m, nil
	}
	before, err := plain(pod)
	if err != nil {
		return nil, err
	}
	after, err := plain(result.Pod)
	if err != nil {
		return nil, err
	}
	out, _ := transplant(m, before, after).(map[string]any)
	return out, nil
}
