package inject

import (
	_ "embed"
	"fmt"
	"maps"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed templates/values.yaml
var defaultValues []byte

// Values are the installation's values as templates see them (.Values): key
// "values" of the ConfigMap istio-sidecar-injector, over the defaults of
// templates/values.yaml. They must not be changed after New got them.
type Values map[string]any

// ParseValues reads YAML or JSON and fills in what is missing.
func ParseValues(text []byte) (Values, error) {
	var base, given map[string]any
	if err := yaml.Unmarshal(defaultValues, &base); err != nil {
		return nil, fmt.Errorf("built-in values: %w", err)
	}
	if err := yaml.UnmarshalStrict(text, &given); err != nil {
		return nil, fmt.Errorf("injector values: %w", err)
	}
	return overlay(base, given), nil
}

// overlay merges maps; other values of top win. null keeps the default, so that
// templates can walk down without asking.
func overlay(base, top map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range top {
		if v == nil && out[k] != nil {
			continue
		}
		if m, ok := v.(map[string]any); ok {
			if b, ok := out[k].(map[string]any); ok {
				out[k] = overlay(b, m)
				continue
			}
		}
		out[k] = v
	}
	return out
}

// at walks down a dotted path.
func (v Values) at(path string) any {
	var x any = map[string]any(v)
	for name := range strings.SplitSeq(path, ".") {
		m, ok := x.(map[string]any)
		if !ok {
			return nil
		}
		x = m[name]
	}
	return x
}

// text is the value at a path; numbers and booleans are written out.
func (v Values) text(path string) string {
	if x := v.at(path); x != nil {
		return fmt.Sprint(x)
	}
	return ""
}

// flag is true for true and for "true".
func (v Values) flag(path string) bool { return v.text(path) == "true" }
