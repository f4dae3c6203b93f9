package inject

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// operation is one of a JSON patch (RFC 6902).
type operation struct {
	Op    string `json:"op"`
	Path  string `json:"path"`
	Value *any   `json:"value,omitempty"` // nil for "remove"
}

// podPatch makes the JSON patch from the pod as it was sent to its injected form.
// Fields of the sent pod that our types do not know are left alone.
func podPatch(sent []byte, before, after *corev1.Pod) ([]byte, error) {
	var raw any
	if err := json.Unmarshal(sent, &raw); err != nil {
		return nil, err
	}
	b, err := plain(before)
	if err != nil {
		return nil, err
	}
	a, err := plain(after)
	if err != nil {
		return nil, err
	}
	return json.Marshal(diff([]operation{}, "", raw, transplant(raw, b, a)))
}

// plain gives a value as JSON has it.
func plain(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(text, &out)
}

// transplant makes in raw the changes that lead from before to after, and nothing
// else: what the way through our types added or lost does not show.
func transplant(raw, before, after any) any {
	if reflect.DeepEqual(before, after) {
		return raw
	}
	switch a := after.(type) {
	case map[string]any:
		r, ok := raw.(map[string]any)
		b, was := before.(map[string]any)
		if !ok || !was {
			return after
		}
		out := maps.Clone(r)
		for k := range b {
			if _, still := a[k]; !still {
				delete(out, k)
			}
		}
		for k, v := range a {
			old, was := b[k]
			mine, has := r[k]
			switch {
			case !was:
				out[k] = v
			case has:
				out[k] = transplant(mine, old, v)
			case !reflect.DeepEqual(old, v):
				out[k] = v
			}
		}
		return out
	case []any:
		return transplantList(raw, before, a)
	}
	return after
}

// transplantList matches the items of lists by their names.
func transplantList(raw, before any, after []any) any {
	r, okR := byName(raw)
	b, okB := byName(before)
	if _, okA := byName(after); !okR || !okB || !okA {
		return after
	}
	out := make([]any, len(after))
	for i, item := range after {
		name := nameOf(item)
		if old, ok := b[name]; ok && r[name] != nil {
			out[i] = transplant(r[name], old, item)
		} else {
			out[i] = item
		}
	}
	return out
}

func nameOf(item any) string {
	m, _ := item.(map[string]any)
	name, _ := m["name"].(string)
	return name
}

// byName indexes a list whose items all have names, each its own.
func byName(list any) (map[string]any, bool) {
	items, ok := list.([]any)
	if !ok {
		return nil, list == nil
	}
	out := make(map[string]any, len(items))
	for _, item := range items {
		name := nameOf(item)
		if name == "" || out[name] != nil {
			return nil, false
		}
		out[name] = item
	}
	return out, true
}

// diff appends the operations that make b of a, in the order of the paths. Lists of
// different lengths are replaced as a whole.
func diff(ops []operation, path string, a, b any) []operation {
	if reflect.DeepEqual(a, b) {
		return ops
	}
	switch b := b.(type) {
	case map[string]any:
		if a, ok := a.(map[string]any); ok {
			return diffMaps(ops, path, a, b)
		}
	case []any:
		if a, ok := a.([]any); ok && len(a) == len(b) {
			for i := range b {
				ops = diff(ops, path+"/"+strconv.Itoa(i), a[i], b[i])
			}
			return ops
		}
	}
	return append(ops, operation{Op: "replace", Path: path, Value: &b})
}

func diffMaps(ops []operation, path string, a, b map[string]any) []operation {
	names := maps.Clone(a)
	maps.Copy(names, b)
	for _, k := range slices.Sorted(maps.Keys(names)) {
		at := path + "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(k)
		old, was := a[k]
		now, is := b[k]
		switch {
		case !is:
			ops = append(ops, operation{Op: "remove", Path: at})
		case !was:
			ops = append(ops, operation{Op: "add", Path: at, Value: &now})
		default:
			ops = diff(ops, at, old, now)
		}
	}
	return ops
}
