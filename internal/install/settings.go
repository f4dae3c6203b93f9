package install

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/strvals"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/charts"
)

// DefaultNamespace is where everything lives unless somebody says otherwise.
const DefaultNamespace = "istio-system"

// Settings are what the user asks for: the fields of IstioOperator's spec, in
// the form of its documents. Helm values lie below "values".
type Settings map[string]any

// fields are those of IstioOperator's spec. Whatever else is set is a Helm value.
var fields = []string{
	"profile", "hub", "tag", "revision", "namespace", "compatibilityVersion", "meshConfig", "components", "values",
}

// refused are fields of IstioOperator that mean something that Lateen does not
// have, with what to do instead.
var refused = map[string]string{
	"installPackagePath": "the charts are part of this program",
	"unvalidatedValues":  "all values are known ones: set them under values",
	"addonComponents":    "add-ons are installed by themselves, from samples/addons",
	"resourceSuffix":     "set revision",
}

// Request is what a command line says.
type Request struct {
	Profile  string   // "": what a file says, or "default"
	Revision string   // "": what a file says
	Files    []string // contents, in order
	Set      []string // "path=value", in order
}

// ReadSettings merges, the last wins: the profile, the files, the flags. A flag
// sees what the profile and the files say, so that its indexes count in their
// lists.
func ReadSettings(r Request) (Settings, error) {
	given := map[string]any{}
	for i, text := range r.Files {
		spec, err := readFile(text)
		if err != nil {
			return nil, fmt.Errorf("file %d: %w", i+1, err)
		}
		given = overlay(given, spec)
	}
	name, err := profileName(r, given)
	if err != nil {
		return nil, err
	}
	profile, err := Profile(name)
	if err != nil {
		return nil, err
	}
	merged := overlay(profile, given)
	for _, s := range r.Set {
		if err := set(merged, s); err != nil {
			return nil, err
		}
	}
	merged["profile"] = name
	if r.Revision != "" {
		merged["revision"] = r.Revision
	}
	return merged, nil
}

// profileName finds the profile, which all else lies upon: --profile, --set
// profile=, a file, "default".
func profileName(r Request, files map[string]any) (string, error) {
	if r.Profile != "" {
		return r.Profile, nil
	}
	flags := map[string]any{"profile": files["profile"]}
	for _, s := range r.Set {
		if strings.HasPrefix(s, "profile=") {
			if err := set(flags, s); err != nil {
				return "", err
			}
		}
	}
	switch name := flags["profile"].(type) {
	case nil:
		return "default", nil
	case string:
		return name, nil
	default:
		return "", fmt.Errorf("profile: %v is no name", name)
	}
}

// Profiles are the names of the profiles.
func Profiles() []string {
	entries, err := charts.Files.ReadDir("profiles")
	if err != nil {
		return nil // it is embedded
	}
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return names
}

// Profile gives the settings of a profile.
func Profile(name string) (Settings, error) {
	text, err := charts.Files.ReadFile("profiles/" + name + ".yaml")
	if err != nil {
		switch name {
		case "ambient", "openshift-ambient":
			return nil, fmt.Errorf("profile %q: ambient mode is not part of this version: use sidecars (profile default)", name)
		case "remote", "external":
			return nil, fmt.Errorf("profile %q: a control plane outside of the cluster is not part of this version", name)
		}
		return nil, fmt.Errorf("unknown profile %q: there are %s", name, strings.Join(Profiles(), ", "))
	}
	spec, err := readFile(string(text))
	if err != nil {
		return nil, fmt.Errorf("profile %s: %w", name, err)
	}
	spec["profile"] = name
	return spec, nil
}

// readFile takes an IstioOperator document, or plain Helm values.
func readFile(text string) (Settings, error) {
	var doc map[string]any
	if err := yaml.UnmarshalStrict([]byte(text), &doc); err != nil {
		return nil, err
	}
	kind, isObject := doc["kind"].(string)
	if !isObject {
		return lift(doc)
	}
	if kind != "IstioOperator" {
		return nil, fmt.Errorf("kind %q: give an IstioOperator or Helm values", kind)
	}
	var errs []error
	for name := range doc {
		if !slices.Contains([]string{"apiVersion", "kind", "metadata", "spec"}, name) {
			errs = append(errs, fmt.Errorf("IstioOperator has no field %q", name))
		}
	}
	spec, ok := doc["spec"].(map[string]any)
	if !ok && doc["spec"] != nil {
		errs = append(errs, errors.New("spec: not an object"))
	}
	for _, name := range slices.Sorted(maps.Keys(spec)) {
		errs = append(errs, checkField(name))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if spec == nil {
		spec = map[string]any{}
	}
	if meta, ok := doc["metadata"].(map[string]any); ok && spec["namespace"] == nil && meta["namespace"] != nil {
		spec["namespace"] = meta["namespace"]
	}
	return spec, nil
}

func checkField(name string) error {
	if why, ok := refused[name]; ok {
		return fmt.Errorf("spec.%s is not supported: %s", name, why)
	}
	if !slices.Contains(fields, name) {
		return fmt.Errorf("spec.%s: IstioOperator has no such field", name)
	}
	return nil
}

// lift puts Helm values where an IstioOperator has them. Fields of the spec may
// stand beside them, as in flags.
func lift(values map[string]any) (Settings, error) {
	spec := map[string]any{}
	below := map[string]any{}
	for name, v := range values {
		if _, no := refused[name]; no {
			return nil, checkField(name)
		}
		if slices.Contains(fields, name) {
			spec[name] = v
		} else {
			below[name] = v
		}
	}
	if len(below) > 0 {
		spec = overlay(spec, map[string]any{"values": below})
	}
	return spec, nil
}

// set does what one --set says.
func set(spec map[string]any, expression string) error {
	first, _, _ := strings.Cut(expression, "=")
	first, _, _ = strings.Cut(first, ".")
	first, _, _ = strings.Cut(first, "[")
	if why, no := refused[first]; no {
		return fmt.Errorf("--set %s: %s is not supported: %s", expression, first, why)
	}
	if !strings.Contains(expression, "=") {
		return fmt.Errorf("--set %s: expected path=value", expression)
	}
	if !slices.Contains(fields, first) {
		expression = "values." + expression
	}
	if err := strvals.ParseInto(expression, spec); err != nil {
		return fmt.Errorf("--set %s: %w", expression, err)
	}
	return nil
}

// overlay merges maps; lists whose members have names are merged by those, as
// gateways are; everything else of top wins. Neither argument is changed.
func overlay(below, top map[string]any) map[string]any {
	out := maps.Clone(below)
	if out == nil {
		out = map[string]any{}
	}
	for k, v := range top {
		switch t := v.(type) {
		case map[string]any:
			if b, ok := out[k].(map[string]any); ok {
				out[k] = overlay(b, t)
				continue
			}
		case []any:
			if b, ok := out[k].([]any); ok && named(b) && named(t) {
				out[k] = overlayNamed(b, t)
				continue
			}
		}
		out[k] = v
	}
	return out
}

func named(list []any) bool {
	for _, v := range list {
		m, _ := v.(map[string]any)
		if _, ok := m["name"].(string); !ok {
			return false
		}
	}
	return len(list) > 0
}

func overlayNamed(below, top []any) []any {
	out := slices.Clone(below)
	for _, v := range top {
		m := v.(map[string]any) // named says so
		i := slices.IndexFunc(out, func(o any) bool { return o.(map[string]any)["name"] == m["name"] })
		if i < 0 {
			out = append(out, m)
		} else {
			out[i] = overlay(out[i].(map[string]any), m)
		}
	}
	return out
}
