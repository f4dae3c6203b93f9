package install

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/lateen-mesh/lateen/charts"
	"github.com/lateen-mesh/lateen/internal/kube/apply"
)

var kindDefinition = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

const labelVersion = "app.kubernetes.io/version"

// Definitions are the names of the kinds that the chart base brings.
func Definitions() ([]string, error) {
	files, err := fs.Glob(charts.Files, chartKinds+"/files/crds/*.yaml")
	if err != nil {
		return nil, err
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(path.Base(f), ".yaml")
	}
	return files, nil
}

// heldDefinition gives a sentence if o is a kind that must not be touched: it is
// there in a newer version, put there by a newer Lateen, or Helm keeps it.
func (in *Installer) heldDefinition(ctx context.Context, o *unstructured.Unstructured) (string, error) {
	if o.GroupVersionKind() != kindDefinition {
		return "", nil
	}
	now, err := in.Cluster.Get(ctx, apply.RefOf(o))
	if err != nil || now == nil {
		return "", err
	}
	if release := now.GetAnnotations()[helmRelease]; release != "" {
		return fmt.Sprintf("- %s belongs to Helm's release %s: left as it is", o.GetName(), release), nil
	}
	have, err := version.ParseGeneric(now.GetLabels()[labelVersion])
	if err != nil {
		return "", nil // nobody has said what it is
	}
	want, err := version.ParseGeneric(o.GetLabels()[labelVersion])
	if err != nil {
		return "", fmt.Errorf("the chart's %s: %w", o.GetName(), err)
	}
	if have.GreaterThan(want) {
		return fmt.Sprintf("- %s is installed in version %s, this is %s: left as it is", o.GetName(), have, want), nil
	}
	return "", nil
}

// reportDefinitions says which kinds the chart left to others, and what those
// lack.
func (in *Installer) reportDefinitions(ctx context.Context, docs []Document) error {
	names, err := Definitions()
	if err != nil {
		return err
	}
	for _, name := range names {
		if slices.ContainsFunc(docs, func(d Document) bool { return d.Object.GetName() == name }) {
			continue
		}
		now, err := in.Cluster.Get(ctx, apply.Ref{Kind: kindDefinition, Name: name})
		if err != nil {
			return err
		}
		if now == nil {
			in.Say(fmt.Sprintf("- %s is excluded and not installed: objects of it cannot be made", name))
			continue
		}
		line := fmt.Sprintf("- %s was installed by somebody else: left as it is", name)
		if lacking := lackingVersions(now, name); len(lacking) > 0 {
			line += fmt.Sprintf("; it does not serve %s, which Lateen reads: upgrade it", strings.Join(lacking, ", "))
		}
		in.Say(line)
	}
	return nil
}

// lackingVersions are versions of our definition that the one in the cluster does
// not serve.
func lackingVersions(now *unstructured.Unstructured, name string) []string {
	served := versions(now)
	ours, err := definition(name)
	if err != nil {
		return nil // the embedded files are tested
	}
	var lacking []string
	for _, v := range versions(ours) {
		if !slices.Contains(served, v) {
			lacking = append(lacking, v)
		}
	}
	return lacking
}

func versions(definition *unstructured.Unstructured) []string {
	all, _, _ := unstructured.NestedSlice(definition.Object, "spec", "versions")
	var names []string
	for _, v := range all {
		m, _ := v.(map[string]any)
		if name, ok := m["name"].(string); ok && m["served"] == true {
			names = append(names, name)
		}
	}
	return names
}

// definition is one of ours.
func definition(name string) (*unstructured.Unstructured, error) {
	text, err := charts.Files.ReadFile(chartKinds + "/files/crds/" + name + ".yaml")
	if err != nil {
		return nil, err
	}
	docs, err := documents(map[string]string{name + ".yaml": string(text)})
	if err != nil {
		return nil, err
	}
	return docs[0].Object, nil
}
