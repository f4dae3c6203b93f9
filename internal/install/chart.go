package install

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	helmvalues "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/charts"
)

// Lookup finds objects of the cluster for the charts' `lookup`: what it answers
// to a chart is what Helm's own would. nil stands for no cluster.
type Lookup = engine.ClientProvider

// Release is one chart with the values of one installation of it.
type Release struct {
	Name      string // of the release; for a gateway also of its objects
	Chart     string // directory of the chart
	Namespace string
	Values    map[string]any // what the user and the profile say, not the chart's defaults
}

// Document is one rendered object with the template that it comes from.
type Document struct {
	Source string // "istiod/templates/deployment.yaml"
	Text   string // as the template wrote it, comments and all
	Object *unstructured.Unstructured
}

// loadChart reads one of the embedded charts. Rendering changes the values of a
// chart, so each call reads anew.
func loadChart(name string) (*chartv2.Chart, error) {
	root, err := fs.Sub(charts.Files, name)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", name, err)
	}
	var files []*archive.BufferedFile
	err = fs.WalkDir(root, ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(root, p)
		files = append(files, &archive.BufferedFile{Name: p, Data: text})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", name, err)
	}
	c, err := loader.LoadFiles(files)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", name, err)
	}
	return c, nil
}

// Render gives the objects of a release in the order in which Helm installs
// them. Values that the chart's schema does not know are an error that names
// them.
func Render(r Release, lookup Lookup) ([]Document, error) {
	c, err := loadChart(r.Chart)
	if err != nil {
		return nil, err
	}
	options := common.ReleaseOptions{Name: r.Name, Namespace: r.Namespace, Revision: 1, IsInstall: true}
	values, err := helmvalues.ToRenderValues(c, deepCopy(r.Values), options, common.DefaultCapabilities)
	if err != nil {
		return nil, fmt.Errorf("chart %s: %w", r.Chart, err)
	}
	var files map[string]string
	if lookup == nil {
		files, err = engine.Render(c, values)
	} else {
		files, err = engine.RenderWithClientProvider(c, values, lookup)
	}
	if err != nil {
		return nil, err // it names the chart and the template
	}
	return documents(files)
}

// deepCopy keeps the engine's templates from changing what the caller holds.
func deepCopy(values map[string]any) map[string]any {
	if values == nil {
		return map[string]any{}
	}
	return (&unstructured.Unstructured{Object: values}).DeepCopy().Object
}

var separator = regexp.MustCompile(`(?:^|\s*\n)---[ \t]*(?:\n|$)`)

// documents splits rendered files into objects and sorts them as Helm does: by
// kind, then by file, then as they stand in it.
func documents(files map[string]string) ([]Document, error) {
	var all []Document
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if ext := path.Ext(name); ext != ".yaml" || strings.HasPrefix(path.Base(name), "_") {
			continue // notes and partial templates
		}
		for _, text := range separator.Split(files[name], -1) {
			text = strings.TrimSpace(text)
			object := map[string]any{}
			if err := yaml.Unmarshal([]byte(text), &object); err != nil {
				return nil, fmt.Errorf("%s gives no YAML: %w", name, err)
			}
			if len(object) == 0 {
				continue // only comments
			}
			all = append(all, Document{Source: name, Text: text, Object: &unstructured.Unstructured{Object: object}})
		}
	}
	slices.SortStableFunc(all, func(a, b Document) int { return compareKinds(a.Object.GetKind(), b.Object.GetKind()) })
	return all, nil
}

// installOrder is the order of kinds in which Helm installs; others come last,
// by name. Uninstalling goes backwards through it.
var installOrder = []string{
	"Namespace", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount", "Secret", "ConfigMap",
	"CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service",
	"DaemonSet", "Pod", "ReplicaSet", "Deployment", "HorizontalPodAutoscaler", "StatefulSet", "Job",
	"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration",
}

func compareKinds(a, b string) int {
	i, j := slices.Index(installOrder, a), slices.Index(installOrder, b)
	switch {
	case i < 0 && j < 0:
		return strings.Compare(a, b)
	case i < 0:
		return 1
	case j < 0:
		return -1
	}
	return i - j
}

// Text joins documents into one stream, each under the name of its template.
func Text(docs []Document) string {
	var b strings.Builder
	for _, d := range docs {
		fmt.Fprintf(&b, "---\n# Source: %s\n%s\n", d.Source, d.Text)
	}
	return b.String()
}
