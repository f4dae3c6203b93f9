// Command schemas writes values.schema.json of each chart from the defaults in
// its values.yaml: what has no default is no value of the chart, so that a typo
// is an error that names it, in Helm as in `lateen install`.
//
//	go run ./internal/install/schemas -charts charts
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const defaultsKey = "_internal_defaults_do_not_set"

// open are objects whose members are the user's or Kubernetes', by the last names
// of their path; a chart before ":" limits the rule to it.
var open = []string{
	"resources", "podAnnotations", "podLabels", "nodeSelector", "meshConfig", "seccompProfile", "requests", "limits",
	"updateStrategy", "defaultResources", "base:global", "gateway:global", "cni:global",
}

// also are types that a value may have besides the one of its default.
var also = map[string][]string{
	"tag": {"number"}, "rollingMaxSurge": {"integer"}, "rollingMaxUnavailable": {"integer"}, "traceSampling": {"number"},
	"unprivilegedPort": {"boolean"}, "compatibilityVersion": {"number"},
	// Lists in Istio's values that users write as text.
	"excludeNamespaces": {"string"},
}

// enums are values that are names.
var enums = map[string][]any{
	"sidecarInjectorWebhook.failurePolicy":      {"Ignore", "Fail"},
	"sidecarInjectorWebhook.reinvocationPolicy": {"Never", "IfNeeded"},
	"global.imagePullPolicy":                    {"", "Always", "IfNotPresent", "Never"},
	"imagePullPolicy":                           {"", "Always", "IfNotPresent", "Never"},
	"global.proxy.autoInject":                   {"enabled", "disabled"},
	"lateen.proxy":                              {"native", "envoy"},
	"cni.failurePolicy":                         {"Fail", "Ignore"},
	"kind":                                      {"Deployment", "DaemonSet"},
	"unprivilegedPort":                          {true, false, "auto"},
	"service.type":                              {"LoadBalancer", "NodePort", "ClusterIP", "None"},
	"service.externalTrafficPolicy":             {"", "Cluster", "Local"},
	"service.ipFamilyPolicy":                    {"", "SingleStack", "PreferDualStack", "RequireDualStack"},
	"pilot.ipFamilyPolicy":                      {"", "SingleStack", "PreferDualStack", "RequireDualStack"},
}

func main() {
	dir := flag.String("charts", "", "directory of the charts")
	flag.Parse()
	charts, err := filepath.Glob(filepath.Join(*dir, "*", "values.yaml"))
	if err == nil && len(charts) == 0 {
		err = fmt.Errorf("no charts in %q", *dir)
	}
	for _, path := range charts {
		if err == nil {
			err = write(path)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func write(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	out, err := schema(filepath.Base(filepath.Dir(path)), text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(filepath.Join(filepath.Dir(path), "values.schema.json"), out, 0o644)
}

// schema gives the schema of a chart's values.
func schema(chart string, values []byte) ([]byte, error) {
	var doc map[string]map[string]any
	if err := yaml.UnmarshalStrict(values, &doc); err != nil {
		return nil, err
	}
	defaults, ok := doc[defaultsKey]
	if !ok || len(doc) != 1 {
		return nil, fmt.Errorf("everything must lie below %s", defaultsKey)
	}
	root := object(chart, "", defaults)
	properties := root["properties"].(map[string]any) // object has made it
	if pilot, ok := properties["pilot"].(map[string]any); ok {
		// Istio's chart takes them at the top level too.
		for name, s := range pilot["properties"].(map[string]any) {
			if _, taken := properties[name]; !taken {
				properties[name] = s
			}
		}
	}
	properties[defaultsKey] = map[string]any{"type": "object"}
	root["$schema"] = "http://json-schema.org/draft-07/schema#"
	root["type"] = "object"
	out, err := json.MarshalIndent(root, "", "  ")
	return append(out, '\n'), err
}

func object(chart, path string, defaults map[string]any) map[string]any {
	properties := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(defaults)) {
		below := name
		if path != "" {
			below = path + "." + name
		}
		properties[name] = value(chart, below, defaults[name])
	}
	return map[string]any{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
}

func value(chart, path string, v any) map[string]any {
	name := path[strings.LastIndexByte(path, '.')+1:]
	if names, ok := enums[path]; ok {
		return map[string]any{"enum": append(slices.Clone(names), nil)}
	}
	var kind string
	switch v := v.(type) {
	case nil:
		return map[string]any{}
	case map[string]any:
		if len(v) == 0 || slices.Contains(open, name) || slices.Contains(open, chart+":"+path) {
			return map[string]any{"type": []string{"object", "null"}}
		}
		return object(chart, path, v)
	case []any:
		kind = "array"
	case bool:
		kind = "boolean"
	case string:
		kind = "string"
	case float64:
		kind = "integer"
	default:
		return map[string]any{}
	}
	types := append([]string{kind}, also[name]...)
	return map[string]any{"type": append(types, "null")}
}
