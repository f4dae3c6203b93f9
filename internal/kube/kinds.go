package kube

import (
	"context"
	"maps"

	"istio.io/api/label"
	admission "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/lateen-mesh/lateen/internal/api"
)

// client is what the generated clients have in common.
type client[L runtime.Object] interface {
	List(context.Context, metav1.ListOptions) (L, error)
	Watch(context.Context, metav1.ListOptions) (watch.Interface, error)
}

// of makes a kind's functions from a generated client and selectors.
func of[T any, L runtime.Object](k kind[T], from client[L], fieldSelector, labelSelector string) kind[T] {
	narrow := func(o *metav1.ListOptions) { o.FieldSelector, o.LabelSelector = fieldSelector, labelSelector }
	k.list = func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
		narrow(&o)
		return from.List(ctx, o)
	}
	k.watch = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
		narrow(&o)
		return from.Watch(ctx, o)
	}
	return k
}

// secretKind watches Secrets; what the documents hold is shared with nobody.
func (c *Client) secretKind(namespace, fieldSelector string) kind[*Document] {
	return of(kind[*Document]{
		name: "secrets", expect: &corev1.Secret{}, strip: stripMeta, same: sameDocument,
		keep: func(old *Document, object any) (*Document, bool) {
			s, ok := object.(*corev1.Secret)
			if !ok {
				return nil, false
			}
			return keepDocument(old, secretDocument(s)), true
		},
	}, c.typed.CoreV1().Secrets(namespace), fieldSelector, "")
}

func (c *Client) configMapKind(namespace, fieldSelector string) kind[*Document] {
	return of(kind[*Document]{
		name: "configmaps", expect: &corev1.ConfigMap{}, strip: stripMeta, same: sameDocument,
		keep: func(old *Document, object any) (*Document, bool) {
			m, ok := object.(*corev1.ConfigMap)
			if !ok {
				return nil, false
			}
			return keepDocument(old, configMapDocument(m)), true
		},
	}, c.typed.CoreV1().ConfigMaps(namespace), fieldSelector, "")
}

func sameDocument(a, b *Document) bool { return a == b }

// keepDocument gives the old value where nothing but the version differs.
func keepDocument(old *Document, now Document) *Document {
	if old != nil && old.Type == now.Type && maps.Equal(old.Labels, now.Labels) && maps.Equal(old.Annotations, now.Annotations) && equalData(old.Data, now.Data) {
		return old
	}
	return &now
}

func equalData(a, b map[string][]byte) bool {
	return maps.EqualFunc(a, b, func(x, y []byte) bool { return string(x) == string(y) })
}

// metadataKind watches the metadata alone of a resource.
func metadataKind[T any](c *Client, k kind[T], resource schema.GroupVersionResource, labelSelector string) kind[T] {
	k.expect, k.strip = &metav1.PartialObjectMetadata{}, stripMeta
	return of(k, c.metadata.Resource(resource), "", labelSelector)
}

// stripMeta drops what is large in the metadata of objects and never read.
func stripMeta(object any) {
	if o, ok := object.(metav1.Object); ok {
		o.SetManagedFields(nil)
		if a := o.GetAnnotations(); a[corev1.LastAppliedConfigAnnotation] != "" {
			delete(a, corev1.LastAppliedConfigAnnotation)
		}
	}
}

func (c *Client) namespaceKind() kind[*item] {
	return metadataKind(c, kind[*item]{
		name: "namespaces", keep: keepNamespace(api.KindNamed(api.KindNamespace)), same: sameItem,
	}, corev1.SchemeGroupVersion.WithResource("namespaces"), "")
}

func (c *Client) accountKind() kind[*item] {
	return metadataKind(c, kind[*item]{
		name: "serviceaccounts", keep: keepAccount(api.KindNamed(api.KindServiceAccount)), same: sameItem,
	}, corev1.SchemeGroupVersion.WithResource("serviceaccounts"), "")
}

func (c *Client) serviceKind() kind[*item] {
	return of(kind[*item]{
		name: "services", expect: &corev1.Service{}, strip: stripMeta, keep: keepService(api.KindNamed(api.KindService)), same: sameItem,
	}, c.typed.CoreV1().Services(metav1.NamespaceAll), "", "")
}

// tagKind watches the webhook configurations that are revision tags.
func (c *Client) tagKind() kind[tag] {
	return metadataKind(c, kind[tag]{
		name: "mutatingwebhookconfigurations",
		keep: func(_ tag, object any) (tag, bool) {
			in, ok := object.(*metav1.PartialObjectMetadata)
			if !ok {
				return tag{}, false
			}
			return tag{name: in.Labels[label.IoIstioTag.Name], revision: in.Labels[label.IoIstioRev.Name]}, true
		},
		same: func(a, b tag) bool { return a == b },
	}, admission.SchemeGroupVersion.WithResource("mutatingwebhookconfigurations"), label.IoIstioTag.Name)
}
