package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/gatewaydeploy"
)

// Gateways is the cluster as the controller of gateways sees it: it implements
// gatewaydeploy.Cluster.
type Gateways struct{ c *Client }

// Gateways gives the controller of gateways its view of the cluster.
func (c *Client) Gateways() *Gateways { return &Gateways{c} }

func (g *Gateways) resource(r gatewaydeploy.Resource, namespace string) dynamic.ResourceInterface {
	all := g.c.dynamic.Resource(schema.GroupVersionResource{Group: r.Group, Version: r.Version, Resource: r.Plural})
	if namespace == "" {
		return all
	}
	return all.Namespace(namespace)
}

// missing adds what the controller knows a missing object by.
func missing(err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: %w", gatewaydeploy.ErrNotFound, err)
	}
	return err
}

// Apply implements gatewaydeploy.Cluster.
func (g *Gateways) Apply(ctx context.Context, m gatewaydeploy.Manifest) error {
	ctx, cancel := context.WithTimeout(g.c.context(ctx), requestTimeout)
	defer cancel()
	o := metav1.ApplyOptions{FieldManager: FieldManager, Force: true}
	_, err := g.resource(m.Resource, m.Namespace).Apply(ctx, m.Name, &unstructured.Unstructured{Object: m.Content}, o)
	return missing(explain(err, "applying %s %s/%s", m.Resource.Kind, m.Namespace, m.Name))
}

// Find implements gatewaydeploy.Cluster.
func (g *Gateways) Find(ctx context.Context, r gatewaydeploy.Resource, namespace, name, selector string) ([]gatewaydeploy.Found, error) {
	ctx, cancel := context.WithTimeout(g.c.context(ctx), requestTimeout)
	defer cancel()
	if name != "" {
		o, err := g.resource(r, namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, missing(explain(err, "reading %s %s/%s", r.Kind, namespace, name))
		}
		return []gatewaydeploy.Found{found(o)}, nil
	}
	list, err := g.resource(r, namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, missing(explain(err, "listing %s of %s", r.Plural, namespace))
	}
	var out []gatewaydeploy.Found
	for i := range list.Items {
		out = append(out, found(&list.Items[i]))
	}
	return out, nil
}

func found(o *unstructured.Unstructured) gatewaydeploy.Found {
	f := gatewaydeploy.Found{Name: o.GetName(), UID: string(o.GetUID())}
	for _, ref := range o.GetOwnerReferences() {
		f.Owners = append(f.Owners, string(ref.UID))
	}
	return f
}

// Delete implements gatewaydeploy.Cluster.
func (g *Gateways) Delete(ctx context.Context, r gatewaydeploy.Resource, namespace string, f gatewaydeploy.Found) error {
	ctx, cancel := context.WithTimeout(g.c.context(ctx), requestTimeout)
	defer cancel()
	uid := types.UID(f.UID)
	err := g.resource(r, namespace).Delete(ctx, f.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	return missing(explain(err, "deleting %s %s/%s", r.Kind, namespace, f.Name))
}

// ConfigMapData implements gatewaydeploy.Cluster.
func (g *Gateways) ConfigMapData(ctx context.Context, namespace, name, selector string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(g.c.context(ctx), requestTimeout)
	defer cancel()
	maps := g.c.typed.CoreV1().ConfigMaps(namespace)
	if name != "" {
		m, err := maps.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return nil, missing(explain(err, "reading ConfigMap %s/%s", namespace, name))
		}
		return m.Data, nil
	}
	list, err := maps.List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, explain(err, "listing ConfigMaps of %s", namespace)
	}
	if len(list.Items) == 0 {
		return nil, fmt.Errorf("a ConfigMap of %s with %s: %w", namespace, selector, gatewaydeploy.ErrNotFound)
	}
	return list.Items[0].Data, nil // lists are in the order of names
}

// statusTries bounds how often a status is read and written again after somebody else
// has written; the next round tries anew.
const statusTries = 3

// WriteStatus implements gatewaydeploy.Cluster.
func (g *Gateways) WriteStatus(ctx context.Context, o *api.Object, change func(live any) bool) error {
	ctx, cancel := context.WithTimeout(g.c.context(ctx), requestTimeout)
	defer cancel()
	r := g.resource(gatewaydeploy.Resource{Group: o.Kind.Group, Version: o.Kind.Versions[0], Plural: o.Kind.Plural}, o.Meta.Namespace)
	var err error
	for range statusTries {
		if err = g.writeStatus(ctx, r, o, change); !apierrors.IsConflict(err) {
			break
		}
	}
	return missing(explain(err, "writing the status of %s", o.Ref()))
}

func (g *Gateways) writeStatus(ctx context.Context, r dynamic.ResourceInterface, o *api.Object, change func(live any) bool) error {
	raw, err := r.Get(ctx, o.Meta.Name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	live := o.Kind.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(raw.Object, live); err != nil {
		return err
	}
	if !change(live) {
		return nil
	}
	edited, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return err
	}
	raw.Object["status"] = edited["status"]
	_, err = r.UpdateStatus(ctx, raw, metav1.UpdateOptions{FieldManager: StatusManager})
	return err
}

// Tags lists the revision tags that lead to this revision, sorted.
func (s *Source) Tags() []string { return slices.Sorted(maps.Keys(s.tagsOf())) }
