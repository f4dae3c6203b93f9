// Package apply brings objects of any kind into a cluster and out of it:
// server-side apply, waiting until what was applied works, finding and deleting
// what carries a label. It is for those who install, not for controllers, which
// watch.
package apply

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"github.com/lateen-mesh/lateen/internal/kube"
)

// Manager is the field manager of what is applied.
const Manager = "lateen"

// Cluster is the API server as an installer sees it. Its methods are safe for
// concurrent use.
type Cluster struct {
	dynamic   dynamic.Interface
	discovery discovery.CachedDiscoveryInterface
	mapper    meta.ResettableRESTMapper
}

// New gives the cluster of a client.
func New(c *kube.Client) *Cluster {
	return newCluster(c.Dynamic(), c.Typed().Discovery())
}

func newCluster(d dynamic.Interface, kinds discovery.DiscoveryInterface) *Cluster {
	cached := memory.NewMemCacheClient(kinds)
	return &Cluster{dynamic: d, discovery: cached, mapper: restmapper.NewDeferredDiscoveryRESTMapper(cached)}
}

// Forget makes the cluster ask anew which kinds there are: call it when kinds
// were installed or removed.
func (c *Cluster) Forget() { c.mapper.Reset() }

// Ref names an object.
type Ref struct {
	Kind            schema.GroupVersionKind
	Namespace, Name string // Namespace is "" for kinds without one
}

// RefOf names an object that is at hand.
func RefOf(o *unstructured.Unstructured) Ref {
	return Ref{Kind: o.GroupVersionKind(), Namespace: o.GetNamespace(), Name: o.GetName()}
}

// String is "Deployment istio-system/istiod".
func (r Ref) String() string {
	if r.Namespace == "" {
		return r.Kind.Kind + " " + r.Name
	}
	return r.Kind.Kind + " " + r.Namespace + "/" + r.Name
}

// ErrNoKind says that the cluster does not know the kind of an object.
var ErrNoKind = errors.New("the cluster does not have this kind")

// resource finds the client of an object.
func (c *Cluster) resource(ref Ref) (dynamic.ResourceInterface, error) {
	all, namespaced, err := c.GetClientFor(ref.Kind.GroupVersion().String(), ref.Kind.Kind)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", ref, err)
	case !namespaced:
		return all, nil
	case ref.Namespace == "":
		return nil, fmt.Errorf("%s: no namespace", ref)
	}
	return all.Namespace(ref.Namespace), nil
}

// GetClientFor gives the client of a kind and whether the kind has namespaces.
// The name is what Helm's engine asks for: a Cluster answers its `lookup`.
func (c *Cluster) GetClientFor(apiVersion, kind string) (dynamic.NamespaceableResourceInterface, bool, error) {
	gvk := schema.FromAPIVersionAndKind(apiVersion, kind)
	m, err := c.mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if meta.IsNoMatchError(err) {
		return nil, false, fmt.Errorf("%w: %s", ErrNoKind, gvk)
	}
	if err != nil {
		return nil, false, err
	}
	return c.dynamic.Resource(m.Resource), m.Scope.Name() == meta.RESTScopeNameNamespace, nil
}

// Resource is the name of a kind in the API's paths and rights: "deployments".
func (c *Cluster) Resource(kind schema.GroupVersionKind) (string, error) {
	m, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return "", fmt.Errorf("%w: %s", ErrNoKind, kind)
	}
	if err != nil {
		return "", err
	}
	return m.Resource.Resource, nil
}

// IsMissingNamespace tells whether the API server refused an object because its
// namespace is not there.
func IsMissingNamespace(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && apierrors.IsNotFound(err) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

// Get reads an object; nil if it is not there, or its kind is not.
func (c *Cluster) Get(ctx context.Context, ref Ref) (*unstructured.Unstructured, error) {
	client, err := c.resource(ref)
	if errors.Is(err, ErrNoKind) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	o, err := client.Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", ref, err)
	}
	return o, nil
}

// List gives the objects of a kind in all namespaces, or in one, that carry
// labels. A kind that the cluster does not have has no objects.
func (c *Cluster) List(ctx context.Context, kind schema.GroupVersionKind, namespace, selector string) ([]unstructured.Unstructured, error) {
	all, namespaced, err := c.GetClientFor(kind.GroupVersion().String(), kind.Kind)
	if errors.Is(err, ErrNoKind) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var client dynamic.ResourceInterface = all
	if namespaced && namespace != "" {
		client = all.Namespace(namespace)
	}
	list, err := client.List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", kind.Kind, err)
	}
	return list.Items, nil
}

// Change is what Apply did.
type Change int

// What can become of an object.
const (
	Unchanged Change = iota
	Created
	Configured
)

// String is the word of `kubectl apply`.
func (c Change) String() string {
	return [...]string{"unchanged", "created", "configured"}[c]
}

// Outcome is an object before and after it was applied; Before is nil for one
// that was not there.
type Outcome struct {
	Change        Change
	Before, After *unstructured.Unstructured
}

// Apply brings an object into the state that o says, field by field: what others
// own stays theirs, unless both say something about one field, where we win. With
// dryRun the API server says what would come of it and nothing changes.
func (c *Cluster) Apply(ctx context.Context, o *unstructured.Unstructured, dryRun bool) (Outcome, error) {
	ref := RefOf(o)
	client, err := c.resource(ref)
	if err != nil {
		return Outcome{}, err
	}
	before, err := c.Get(ctx, ref)
	if err != nil {
		return Outcome{}, err
	}
	options := metav1.ApplyOptions{FieldManager: Manager, Force: true}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	after, err := client.Apply(ctx, ref.Name, o, options)
	if err != nil {
		return Outcome{}, fmt.Errorf("applying %s: %w", ref, err)
	}
	out := Outcome{Change: Configured, Before: before, After: after}
	switch {
	case before == nil:
		out.Change = Created
	case before.GetResourceVersion() == after.GetResourceVersion():
		out.Change = Unchanged
	}
	return out, nil
}

// Replace writes an object that was read before. It fails where somebody else has
// written it since.
func (c *Cluster) Replace(ctx context.Context, o *unstructured.Unstructured) error {
	client, err := c.resource(RefOf(o))
	if err != nil {
		return err
	}
	if _, err = client.Update(ctx, o, metav1.UpdateOptions{FieldManager: Manager}); err != nil {
		return fmt.Errorf("writing %s: %w", RefOf(o), err)
	}
	return nil
}

// Delete removes an object; a Deployment or DaemonSet is gone when its pods are.
// It reports whether the object was there, and does not wait.
func (c *Cluster) Delete(ctx context.Context, ref Ref) (bool, error) {
	client, err := c.resource(ref)
	if errors.Is(err, ErrNoKind) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	order := metav1.DeletePropagationBackground
	if ref.Kind.Group == "apps" {
		order = metav1.DeletePropagationForeground
	}
	err = client.Delete(ctx, ref.Name, metav1.DeleteOptions{PropagationPolicy: &order})
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("deleting %s: %w", ref, err)
	}
	return true, nil
}

// Try asks the API server to create an object without keeping it: admission and
// validation run, webhooks are called, and what came of the object is returned.
func (c *Cluster) Try(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	client, err := c.resource(RefOf(o))
	if err != nil {
		return nil, err
	}
	return client.Create(ctx, o, metav1.CreateOptions{FieldManager: Manager, DryRun: []string{metav1.DryRunAll}})
}

// Create makes an object and gives what became of it, for kinds that answer
// questions (SelfSubjectAccessReview).
func (c *Cluster) Create(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	client, err := c.resource(RefOf(o))
	if err != nil {
		return nil, err
	}
	return client.Create(ctx, o, metav1.CreateOptions{FieldManager: Manager})
}

// Version is the API server's version, "v1.34.4".
func (c *Cluster) Version() (string, error) {
	v, err := c.discovery.ServerVersion()
	if err != nil {
		return "", err
	}
	return v.GitVersion, nil
}
