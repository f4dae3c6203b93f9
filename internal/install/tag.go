package install

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/kube/apply"
)

// A tag is a name for a revision: a webhook that calls the revision's control
// plane for namespaces labelled istio.io/rev=TAG. Moving the tag moves them all,
// without touching their labels. The tag "default" also answers for namespaces
// labelled istio-injection=enabled.

const (
	labelTag = "istio.io/tag"
	// DefaultTag is the tag that stands for "no revision named".
	DefaultTag = "default"
	// defaultValidator checks objects that name no revision.
	defaultValidator = "istiod-default-validator"
)

var (
	kindMutating   = schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"}
	kindValidating = schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"}
	kindNamespace  = schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}
)

// Tag is one tag of the cluster.
type Tag struct {
	Name       string   `json:"tag"`
	Revision   string   `json:"revision"`
	Namespaces []string `json:"namespaces"` // that use it
}

// ErrTagExists says that a tag points elsewhere already.
var ErrTagExists = errors.New("the tag exists")

var tagName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// TagOptions say where a tag points.
type TagOptions struct {
	Name, Revision string
	Namespace      string // of the control plane
	// WebhookName replaces the webhook's own name.
	WebhookName string
	// Overwrite moves a tag that exists.
	Overwrite bool
	// EnableNamespacesByDefault lets the default tag answer for namespaces that say
	// nothing.
	EnableNamespacesByDefault bool
}

// TagObjects gives the objects of a tag, made from the revision's own webhook in
// the cluster: what the installation has set there (policies, CA, URL) holds for
// the tag as well.
func (in *Installer) TagObjects(ctx context.Context, o TagOptions) ([]*unstructured.Unstructured, error) {
	if !tagName.MatchString(o.Name) || len(o.Name) > 63 {
		return nil, fmt.Errorf("tag %q: a tag is a DNS label (lower case, digits, -)", o.Name)
	}
	if o.Revision == "" {
		return nil, errors.New("a tag needs a revision")
	}
	revisions, err := in.Cluster.List(ctx, kindMutating, "", "app=sidecar-injector,!"+labelTag+","+labelRevision+"="+o.Revision)
	if err != nil {
		return nil, err
	}
	if len(revisions) == 0 {
		return nil, fmt.Errorf("cannot modify tag: cannot find a control plane of revision %q", o.Revision)
	}
	if existing, err := in.tag(ctx, o.Name); err != nil {
		return nil, err
	} else if existing != nil && !o.Overwrite && existing.GetLabels()[labelRevision] != o.Revision {
		return nil, fmt.Errorf("%w: %s points to %s; --overwrite moves it", ErrTagExists, o.Name, existing.GetLabels()[labelRevision])
	}
	bundle, _, _ := unstructured.NestedString(firstWebhook(&revisions[0]), "clientConfig", "caBundle") // "": not written yet
	docs, err := Render(Release{Name: "istiod", Chart: chartControlPlane, Namespace: o.Namespace, Values: o.values(&revisions[0])}, nil)
	if err != nil {
		return nil, err
	}
	var out []*unstructured.Unstructured
	for _, d := range docs {
		if d.Object.GetLabels()[labelTag] != o.Name {
			continue
		}
		tag := o.mark(d.Object)
		if o.WebhookName != "" {
			tag.SetName(o.WebhookName)
		}
		out = append(out, withBundle(tag, bundle))
	}
	if o.Name == DefaultTag {
		validator, err := o.validator()
		if err != nil {
			return nil, err
		}
		out = append(out, withBundle(validator, bundle))
	}
	return out, nil
}

func (o TagOptions) mark(object *unstructured.Unstructured) *unstructured.Unstructured {
	return (&Plan{Namespace: o.Namespace, Revision: o.Revision}).mark(object, "tag")
}

// values are those of the chart that give the tag's webhooks.
func (o TagOptions) values(revision *unstructured.Unstructured) map[string]any {
	hook := map[string]any{"enableNamespacesByDefault": o.EnableNamespacesByDefault}
	first := firstWebhook(revision)
	if policy, ok := first["failurePolicy"].(string); ok {
		hook["failurePolicy"] = policy
	}
	values := map[string]any{"revisionTags": []any{o.Name}, "sidecarInjectorWebhook": hook}
	if o.Revision != "default" {
		values["revision"] = o.Revision
	}
	if url, ok, _ := unstructured.NestedString(first, "clientConfig", "url"); ok {
		values["istiodRemote"] = map[string]any{"injectionURL": url}
	}
	return values
}

// validator checks objects that name no revision, by the control plane that the
// default tag points to.
func (o TagOptions) validator() (*unstructured.Unstructured, error) {
	docs, err := Render(Release{Name: "base", Chart: chartKinds, Namespace: o.Namespace, Values: map[string]any{
		"defaultRevision": o.Revision,
		"base":            map[string]any{"enableCRDTemplates": false},
		"global":          map[string]any{"istioNamespace": o.Namespace},
	}}, nil)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(docs, func(d Document) bool { return d.Object.GetName() == defaultValidator })
	if i < 0 {
		return nil, fmt.Errorf("the chart base has no %s", defaultValidator)
	}
	return o.mark(docs[i].Object), nil
}

func firstWebhook(o *unstructured.Unstructured) map[string]any {
	all, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
	if len(all) == 0 {
		return nil
	}
	m, _ := all[0].(map[string]any)
	return m
}

// withBundle lets the webhooks trust the CA at once; the control plane keeps it
// right afterwards.
func withBundle(o *unstructured.Unstructured, bundle string) *unstructured.Unstructured {
	all, _, _ := unstructured.NestedSlice(o.Object, "webhooks")
	for _, v := range all {
		m, ok := v.(map[string]any)
		if config, isMap := m["clientConfig"].(map[string]any); ok && isMap && bundle != "" {
			config["caBundle"] = bundle
		}
	}
	o.Object["webhooks"] = all
	return o
}

// SetTag makes or moves a tag. The control plane without a revision answers for
// what names none; when the tag default is given to another one, it stops to, and
// when the tag comes back, it does again.
func (in *Installer) SetTag(ctx context.Context, o TagOptions) error {
	objects, err := in.TagObjects(ctx, o)
	if err != nil {
		return err
	}
	if o.Name == DefaultTag && o.Revision == "default" {
		if _, err := in.RemoveTag(ctx, DefaultTag, func([]string) (bool, error) { return true, nil }); err != nil && !errors.Is(err, ErrNoTag) {
			return err
		}
		return nil
	}
	for _, object := range objects {
		if _, err := in.Cluster.Apply(ctx, object, false); err != nil {
			return err
		}
	}
	if o.Name == DefaultTag {
		return in.handOver(ctx)
	}
	return nil
}

// ErrNoTag says that there is no such tag.
var ErrNoTag = errors.New("it does not exist")

// byDefault tells the webhooks of what names no revision from those of the
// revision, by their names.
func byDefault(hook string) bool { return !strings.Contains(hook, "rev.") }

// handOver takes what answers for the default from the webhooks of the control
// plane without a revision.
func (in *Installer) handOver(ctx context.Context) error {
	for _, kind := range []schema.GroupVersionKind{kindMutating, kindValidating} {
		list, err := in.Cluster.List(ctx, kind, "", labelPartOf+"="+partOf+","+labelRevision+"=default,!"+labelTag)
		if err != nil {
			return err
		}
		for i := range list {
			hooks, _, _ := unstructured.NestedSlice(list[i].Object, "webhooks") // absent: none
			all := len(hooks)
			hooks = slices.DeleteFunc(hooks, func(v any) bool {
				m, _ := v.(map[string]any)
				name, _ := m["name"].(string)
				return byDefault(name)
			})
			if len(hooks) == all {
				continue
			}
			list[i].Object["webhooks"] = hooks
			if err := in.Cluster.Replace(ctx, &list[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeBack gives it back to that control plane, if there is one.
func (in *Installer) takeBack(ctx context.Context) error {
	list, err := in.Cluster.List(ctx, kindMutating, "", labelPartOf+"="+partOf+","+labelRevision+"=default,app=sidecar-injector,!"+labelTag)
	if err != nil || len(list) == 0 {
		return err
	}
	hook := firstWebhook(&list[0])
	namespace, _, _ := unstructured.NestedString(hook, "clientConfig", "service", "namespace") // absent with a URL
	if namespace == "" {
		namespace = DefaultNamespace
	}
	bundle, _, _ := unstructured.NestedString(hook, "clientConfig", "caBundle")
	values := TagOptions{Revision: "default"}.values(&list[0])
	delete(values, "revisionTags")
	docs, err := Render(Release{Name: "istiod", Chart: chartControlPlane, Namespace: namespace, Values: values}, nil)
	if err != nil {
		return err
	}
	for _, d := range docs {
		if d.Object.GroupVersionKind().Group != kindMutating.Group {
			continue
		}
		now, err := in.Cluster.Get(ctx, apply.RefOf(d.Object))
		if err != nil {
			return err
		}
		if now == nil {
			continue // validation is switched off
		}
		now.Object["webhooks"] = withBundle(d.Object, bundle).Object["webhooks"]
		if err := in.Cluster.Replace(ctx, now); err != nil {
			return err
		}
	}
	return nil
}

// tag finds the webhook of a tag; nil if there is none.
func (in *Installer) tag(ctx context.Context, name string) (*unstructured.Unstructured, error) {
	list, err := in.Cluster.List(ctx, kindMutating, "", labelTag+"="+name)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// Tags lists the tags and who uses them.
func (in *Installer) Tags(ctx context.Context) ([]Tag, error) {
	list, err := in.Cluster.List(ctx, kindMutating, "", labelTag)
	if err != nil {
		return nil, err
	}
	namespaces, err := in.Cluster.List(ctx, kindNamespace, "", "")
	if err != nil {
		return nil, err
	}
	var tags []Tag
	for i := range list {
		labels := list[i].GetLabels()
		t := Tag{Name: labels[labelTag], Revision: labels[labelRevision], Namespaces: []string{}}
		for j := range namespaces {
			if usesTag(namespaces[j].GetLabels(), t.Name) {
				t.Namespaces = append(t.Namespaces, namespaces[j].GetName())
			}
		}
		slices.Sort(t.Namespaces)
		tags = append(tags, t)
	}
	slices.SortFunc(tags, func(a, b Tag) int { return strings.Compare(a.Name, b.Name) })
	return tags, nil
}

func usesTag(labels map[string]string, tag string) bool {
	injection, said := labels["istio-injection"]
	if said {
		return tag == DefaultTag && injection == "enabled"
	}
	return labels[labelRevision] == tag
}

// RemoveTag removes a tag. With namespaces using it, it does so only when forced:
// their new pods would have no sidecar.
func (in *Installer) RemoveTag(ctx context.Context, name string, force func(users []string) (bool, error)) (bool, error) {
	tags, err := in.Tags(ctx)
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(tags, func(t Tag) bool { return t.Name == name })
	if i < 0 {
		return false, fmt.Errorf("cannot remove tag %q: %w", name, ErrNoTag)
	}
	if len(tags[i].Namespaces) > 0 {
		if ok, err := force(tags[i].Namespaces); err != nil || !ok {
			return false, err
		}
	}
	list, err := in.Cluster.List(ctx, kindMutating, "", labelTag+"="+name)
	if err != nil {
		return false, err
	}
	refs := []apply.Ref{}
	for i := range list {
		refs = append(refs, apply.RefOf(&list[i]))
	}
	if name == DefaultTag {
		refs = append(refs, apply.Ref{Kind: kindValidating, Name: defaultValidator})
	}
	for _, ref := range refs {
		if _, err := in.Cluster.Delete(ctx, ref); err != nil {
			return false, err
		}
	}
	if name == DefaultTag {
		return true, in.takeBack(ctx)
	}
	return true, nil
}
