package install

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/kube/apply"
)

// Labels of what Apply makes, besides those of the charts.
const (
	// labelComponent names the component that an object belongs to. It is how
	// Uninstall and the next Apply find what is ours.
	labelComponent = "install.lateen.dev/component"
	// labelSystem names the system namespace of the installation.
	labelSystem = "install.lateen.dev/namespace"
	// labelPartOf is the charts' label on everything of Lateen.
	labelPartOf    = "app.kubernetes.io/part-of"
	partOf         = "lateen"
	labelManagedBy = "app.kubernetes.io/managed-by"
	managedBy      = "lateen"
	labelRevision  = "istio.io/rev"
	helmRelease    = "meta.helm.sh/release-name"
)

// Installer changes one cluster.
type Installer struct {
	// immutable
	Cluster *apply.Cluster
	// Say is called with each line of progress, from one goroutine.
	Say func(line string)
	// Wait is whether to wait until a component works before the next comes.
	Wait bool
	// Timeout of waiting for one component; 0 is five minutes.
	Timeout time.Duration
	// DryRun asks the API server about every object and changes nothing.
	DryRun bool
}

// ErrForeign says that an object belongs to another tool.
var ErrForeign = errors.New("it is managed by somebody else")

// Apply makes what the plan says, component by component, and removes objects of
// the same components that are not part of it any more.
func (in *Installer) Apply(ctx context.Context, p *Plan) error {
	if err := in.check(ctx, p); err != nil {
		return err
	}
	for _, ns := range p.namespaces() {
		if err := in.ensureNamespace(ctx, ns); err != nil {
			return err
		}
	}
	for _, c := range p.Components {
		if err := in.component(ctx, p, c); err != nil {
			return fmt.Errorf("%s: %w", c.Title, err)
		}
		done := "installed"
		if in.DryRun {
			done = "accepted (dry run)"
		}
		in.Say(fmt.Sprintf("✔ %s %s %s", c.Title, done, c.Sign))
	}
	return in.prune(ctx, p)
}

// namespaces are those that the plan's releases lie in.
func (p *Plan) namespaces() []string {
	seen := map[string]bool{p.Namespace: true}
	for _, c := range p.Components {
		for _, r := range c.Releases {
			seen[r.Namespace] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

func (in *Installer) ensureNamespace(ctx context.Context, name string) error {
	ref := apply.Ref{Kind: schema.GroupVersionKind{Version: "v1", Kind: "Namespace"}, Name: name}
	o, err := in.Cluster.Get(ctx, ref)
	if err != nil || o != nil || in.DryRun {
		return err
	}
	// No label of ours: it may hold what others put there, so it is never removed.
	_, err = in.Cluster.Apply(ctx, newObject(ref), false)
	return err
}

func newObject(ref apply.Ref) *unstructured.Unstructured {
	o := &unstructured.Unstructured{}
	o.SetGroupVersionKind(ref.Kind)
	o.SetNamespace(ref.Namespace)
	o.SetName(ref.Name)
	return o
}

// check looks for what stands in the way before anything changes.
func (in *Installer) check(ctx context.Context, p *Plan) error {
	var errs []error
	docs, err := p.owned(in.Cluster)
	if err != nil {
		return err
	}
	for _, d := range docs {
		now, err := in.Cluster.Get(ctx, apply.RefOf(d.Object))
		if err != nil {
			return err
		}
		if by := foreign(now); by != "" {
			errs = append(errs, fmt.Errorf("%s: %w: %s", apply.RefOf(d.Object), ErrForeign, by))
		}
	}
	return errors.Join(errs...)
}

// foreign names the tool that an object belongs to, "" if it may be changed.
func foreign(o *unstructured.Unstructured) string {
	if o == nil {
		return ""
	}
	if release := o.GetAnnotations()[helmRelease]; release != "" {
		return fmt.Sprintf("Helm's release %s: use helm upgrade, or uninstall it first", release)
	}
	if o.GetLabels()[labelPartOf] != partOf {
		return "it is there and not Lateen's: is Istio installed? Use --revision to install beside it"
	}
	return ""
}

// component applies one component, prunes what it no longer has, and waits.
func (in *Installer) component(ctx context.Context, p *Plan, c Component) error {
	docs, err := c.render(in.Cluster)
	if err != nil {
		return err
	}
	var refs []apply.Ref
	for _, d := range docs {
		o := p.mark(d.Object, c.ID)
		held, err := in.heldDefinition(ctx, o)
		if err != nil {
			return err
		}
		if held != "" {
			in.Say(held)
			continue
		}
		if _, err := in.Cluster.Apply(ctx, o, in.DryRun); err != nil {
			if in.DryRun && apply.IsMissingNamespace(err) {
				in.Say(fmt.Sprintf("- %s is not tried: its namespace is not there yet", apply.RefOf(o)))
				continue
			}
			return err
		}
		refs = append(refs, apply.RefOf(o))
	}
	if c.ID == "base" {
		if err := in.reportDefinitions(ctx, docs); err != nil {
			return err
		}
	}
	if in.DryRun {
		return nil
	}
	return in.wait(ctx, p, c, refs)
}

// mark adds the labels by which an object is found again.
func (p *Plan) mark(o *unstructured.Unstructured, component string) *unstructured.Unstructured {
	o = o.DeepCopy()
	labels := o.GetLabels()
	if labels == nil {
		labels = map[string]string{}
	}
	labels[labelPartOf], labels[labelManagedBy], labels[labelComponent] = partOf, managedBy, component
	if component != "base" { // which all installations share
		labels[labelSystem] = p.Namespace
		if _, ok := labels[labelRevision]; !ok {
			labels[labelRevision] = revisionLabel(p.Revision)
		}
	}
	o.SetLabels(labels)
	return o
}

func revisionLabel(revision string) string {
	if revision == "" {
		return "default"
	}
	return revision
}

// obsolete finds what an earlier Apply of the same installation made and this plan
// does not have: a gateway that is switched off, the budget of a control plane
// that now has one replica. Kinds stay: they hold the users' objects.
func (in *Installer) obsolete(ctx context.Context, p *Plan, docs []Document) ([]apply.Ref, error) {
	kept := map[apply.Ref]bool{}
	for _, d := range docs {
		kept[apply.RefOf(d.Object)] = true
	}
	var gone []apply.Ref
	selector := fmt.Sprintf("%s,%s notin (base,tag),%s=%s,%s=%s", labelComponent, labelComponent,
		labelSystem, p.Namespace, labelRevision, revisionLabel(p.Revision))
	for _, kind := range kinds {
		list, err := in.Cluster.List(ctx, kind, "", selector)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if ref := apply.RefOf(&list[i]); !kept[ref] {
				gone = append(gone, ref)
			}
		}
	}
	return gone, nil
}

// prune removes what is obsolete.
func (in *Installer) prune(ctx context.Context, p *Plan) error {
	docs, err := p.owned(in.Cluster)
	if err != nil {
		return err
	}
	gone, err := in.obsolete(ctx, p, docs)
	if err != nil {
		return err
	}
	for _, ref := range gone {
		if in.DryRun {
			in.Say(fmt.Sprintf("- %s would be removed: it is not part of this installation any more", ref))
			continue
		}
		if _, err := in.Cluster.Delete(ctx, ref); err != nil {
			return err
		}
		in.Say(fmt.Sprintf("- removed %s, which is not part of this installation any more", ref))
	}
	return nil
}

// wait blocks until a component works. After the kinds, the cluster knows more
// kinds; after the control plane, pods must really be injected, because the
// gateways are nothing without that.
func (in *Installer) wait(ctx context.Context, p *Plan, c Component, refs []apply.Ref) error {
	timeout := in.Timeout
	if timeout == 0 {
		timeout = 5 * time.Minute
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("no success in %s", timeout))
	defer cancel()
	if c.ID == "base" { // the next component needs them, waited for or not
		if err := in.Cluster.Wait(ctx, refs); err != nil {
			return err
		}
		in.Cluster.Forget()
		return nil
	}
	if !in.Wait {
		return nil
	}
	if err := in.Cluster.Wait(ctx, refs); err != nil {
		return err
	}
	if c.ID == "pilot" {
		return in.waitInjection(ctx, p)
	}
	return nil
}

// waitInjection asks the API server what it would make of a pod that asks for a
// proxy, until the answer has one.
func (in *Installer) waitInjection(ctx context.Context, p *Plan) error {
	answers := 0 // several API servers learn of the webhook one after the other
	for {
		made, err := in.Cluster.Try(ctx, probePod(p))
		if err == nil && injected(made) {
			if answers++; answers == 3 {
				return nil
			}
			continue
		}
		answers = 0
		if err == nil {
			err = errors.New("the pod was made without a proxy")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the control plane runs, but does not inject pods: %w (%w)", context.Cause(ctx), err)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// probePod is a pod as a gateway's is. It is never made: the API server is only
// asked.
func probePod(p *Plan) *unstructured.Unstructured {
	labels := map[string]any{"sidecar.istio.io/inject": "true", "app": "lateen-injection-probe"}
	if p.Revision != "" {
		labels["istio.io/rev"] = p.Revision
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod",
		"metadata": map[string]any{
			"name": "lateen-injection-probe", "namespace": p.Namespace, "labels": labels,
			"annotations": map[string]any{"inject.istio.io/templates": "gateway"},
		},
		"spec": map[string]any{"containers": []any{map[string]any{"name": "istio-proxy", "image": "auto"}}},
	}}
}

func injected(pod *unstructured.Unstructured) bool {
	for _, field := range []string{"containers", "initContainers"} {
		all, _, _ := unstructured.NestedSlice(pod.Object, "spec", field) // absent: none
		for _, v := range all {
			m, _ := v.(map[string]any)
			image, _ := m["image"].(string)
			if m["name"] == "istio-proxy" && image != "auto" && strings.TrimSpace(image) != "" {
				return true
			}
		}
	}
	return false
}
