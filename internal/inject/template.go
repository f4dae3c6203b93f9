package inject

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/template"

	"istio.io/api/annotation"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

// builtin holds the templates of the program: parts.tmpl has what they share.
//
//go:embed templates/*.tmpl
var builtin embed.FS

// templates are parsed templates by name.
type templates map[string]*template.Template

// parseTemplates reads the built-in templates, then those of the configuration.
func parseTemplates(c *Config, getenv func(string) string) (templates, error) {
	funcs := functions(getenv)
	out := templates{}
	for _, name := range []string{TemplateSidecar, TemplateGateway} {
		t, err := template.New(name+".tmpl").Funcs(funcs).ParseFS(builtin, "templates/"+name+".tmpl", "templates/parts.tmpl")
		if err != nil {
			return nil, fmt.Errorf("built-in template %s: %w", name, err)
		}
		out[name] = t
	}
	for _, name := range slices.Sorted(maps.Keys(c.Templates)) {
		t, err := template.New(name).Funcs(funcs).Parse(c.Templates[name])
		if err != nil {
			return nil, fmt.Errorf("template %s: %w", name, err)
		}
		out[name] = t
	}
	return out, nil
}

// chosen are the names of the pod's templates, without aliases.
func (w *work) chosen() ([]string, error) {
	names := w.config.DefaultTemplates
	asked := w.original.Annotations[annotation.InjectTemplates.Name]
	if asked != "" {
		names = list(asked)
	}
	names = w.config.expand(names)
	for _, n := range names {
		if _, ok := w.templates[n]; ok {
			continue
		}
		err := fmt.Errorf("template %q is not known: there are %s", n, strings.Join(slices.Sorted(maps.Keys(w.templates)), ", "))
		if slices.Contains(proxyless, n) {
			err = fmt.Errorf("template %q is not supported: the control plane does not serve gRPC without a proxy yet", n)
		}
		if asked != "" {
			return nil, userError("annotation %s: %w", annotation.InjectTemplates.Name, err)
		}
		return nil, fmt.Errorf("injector configuration: defaultTemplates: %w", err)
	}
	return names, nil
}

// render runs a template and gives its patch as JSON.
func (t templates) render(name string, data *templateData) ([]byte, error) {
	var b bytes.Buffer
	if err := t[name].Execute(&b, data); err != nil {
		return nil, fmt.Errorf("template %s: %w", name, err)
	}
	js, err := yaml.YAMLToJSONStrict(b.Bytes())
	if err != nil {
		return nil, fmt.Errorf("template %s gives no YAML: %w", name, err)
	}
	if bytes.Equal(bytes.TrimSpace(js), []byte("null")) {
		js = []byte("{}")
	}
	return js, nil
}

// merge lays a patch over a pod as kubectl's strategic merge does: containers,
// volumes, environment variables and mounts are matched by their keys.
func merge(pod *corev1.Pod, patch []byte) (*corev1.Pod, error) {
	before, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, patch, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	out := &corev1.Pod{}
	return out, json.Unmarshal(after, out)
}
