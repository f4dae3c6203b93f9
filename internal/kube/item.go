package kube

import (
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// item is one object of the mesh as it is held; immutable.
type item struct {
	// object is in force: the last good version. Nil where there never was one.
	object *api.Object
	// statuses says what is wrong with the newest version.
	statuses []verdict.Status
	// The newest version, whether good or not.
	uid         string
	generation  int64
	labels      map[string]string
	annotations map[string]string
	terminating bool // being deleted
	outdated    bool // object is an older version than the newest
}

func sameItem(a, b *item) bool { return a == b }

// keepCustom decodes an object of a custom resource definition. A version that is
// not good leaves the one before in force, and says so.
// remembered gives what was in force of an object before this process started.
func keepCustom(k *api.Kind, remembered func(ref verdict.Ref, uid string) *api.Object) func(old *item, object any) (*item, bool) {
	return func(old *item, object any) (*item, bool) {
		in, ok := object.(*unstructured.Unstructured)
		if !ok {
			return nil, false
		}
		stripCustom(in)
		if old != nil && old.is(in) && in.GetGeneration() > 0 {
			return old, true // only the status moved: generations count the rest
		}
		now := &item{uid: string(in.GetUID()), generation: in.GetGeneration(), labels: in.GetLabels(), annotations: in.GetAnnotations()}
		origin := now.decode(k, in)
		if now.object == nil {
			outcome := "it has no effect"
			if old != nil && old.uid == now.uid {
				now.object = old.object
			} else {
				now.object = remembered(origin.Ref, now.uid)
			}
			if now.object != nil {
				outcome = fmt.Sprintf("generation %d stays in force", now.object.Meta.Generation)
				now.outdated = true
			}
			now.statuses = append(now.statuses, verdict.Status{Origin: origin, Code: verdict.Invalid, Message: "the object is not good: " + outcome})
		}
		return now, true
	}
}

// stripCustom drops what no stage reads: the status is written, not read.
func stripCustom(object any) {
	stripMeta(object)
	if in, ok := object.(*unstructured.Unstructured); ok {
		delete(in.Object, "status")
	}
}

// is reports whether o is the version that is held, apart from its status.
func (i *item) is(o metav1.Object) bool {
	return i.uid == string(o.GetUID()) && i.generation == o.GetGeneration() &&
		maps.Equal(i.labels, o.GetLabels()) && maps.Equal(i.annotations, o.GetAnnotations())
}

// decode sets object, where it is good, and statuses.
func (i *item) decode(k *api.Kind, in *unstructured.Unstructured) (origin verdict.Origin) {
	ref := verdict.Ref{Kind: k.ID(), Namespace: in.GetNamespace(), Name: in.GetName()}
	origin = verdict.Origin{Ref: ref, Generation: i.generation}
	say := func(path string, code verdict.Code, msg string) {
		i.statuses = append(i.statuses, verdict.Status{Origin: origin.At(path), Code: code, Message: strings.TrimSuffix(msg, ".")})
	}
	data, err := in.MarshalJSON()
	if err != nil {
		say("", verdict.Invalid, err.Error())
		return origin
	}
	served, err := api.DecodeServed(data)
	if err != nil {
		list := api.DecodeErrors(err)
		for _, e := range list {
			say(e.Path, verdict.Invalid, e.Msg)
		}
		if len(list) == 0 {
			say("", verdict.Invalid, err.Error())
		}
		return origin
	}
	for _, u := range served.Unknown {
		say(u.Path, verdict.NotActedOn, u.Msg+": this version of Lateen does not know it")
	}
	bad := validate.Object(served.Object)
	for _, e := range bad {
		say(e.Path, verdict.Invalid, e.Msg)
	}
	if len(bad) == 0 {
		i.object = served.Object
	}
	return origin
}

// keepService holds what a mesh reads of a Service: its spec and the addresses of
// its load balancer.
func keepService(k *api.Kind) func(old *item, object any) (*item, bool) {
	return func(old *item, object any) (*item, bool) {
		in, ok := object.(*corev1.Service)
		if !ok {
			return nil, false
		}
		stripMeta(in)
		spec := &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: in.Name, Namespace: in.Namespace, Labels: in.Labels, Annotations: in.Annotations},
			Spec:       in.Spec, Status: corev1.ServiceStatus{LoadBalancer: in.Status.LoadBalancer},
		}
		return keepTyped(old, k, spec, &in.ObjectMeta), true
	}
}

// keepNamespace holds a namespace's labels and annotations.
func keepNamespace(k *api.Kind) func(old *item, object any) (*item, bool) {
	return func(old *item, object any) (*item, bool) {
		in, ok := object.(*metav1.PartialObjectMetadata)
		if !ok {
			return nil, false
		}
		stripMeta(in)
		spec := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: in.Name, Labels: in.Labels, Annotations: in.Annotations}}
		return keepTyped(old, k, spec, &in.ObjectMeta), true
	}
}

// account is the content of every ServiceAccount: only their names matter.
var account = &corev1.ServiceAccount{}

func keepAccount(k *api.Kind) func(old *item, object any) (*item, bool) {
	return func(old *item, object any) (*item, bool) {
		in, ok := object.(*metav1.PartialObjectMetadata)
		if !ok {
			return nil, false
		}
		meta := metav1.ObjectMeta{Namespace: in.Namespace, Name: in.Name, UID: in.UID, CreationTimestamp: in.CreationTimestamp}
		return keepTyped(old, k, account, &meta), true
	}
}

// secretKeys are the entries of a gateway's credential, in the form of Kubernetes
// (tls.crt, tls.key, ca.crt) and in Istio's.
var secretKeys = []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, "ca.crt", "ca.crl", "cert", "key", "cacert", "crl"}

// keepSecret holds the entries of a credential; Secrets of other uses are dropped.
func keepSecret(k *api.Kind) func(old *item, object any) (*item, bool) {
	return func(old *item, object any) (*item, bool) {
		in, ok := object.(*corev1.Secret)
		if !ok {
			return nil, false
		}
		data := map[string][]byte{}
		for _, key := range secretKeys {
			if v, ok := in.Data[key]; ok {
				data[key] = v
			}
		}
		if len(data) == 0 {
			return nil, false
		}
		spec := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: in.Namespace, Name: in.Name}, Type: in.Type, Data: data}
		meta := metav1.ObjectMeta{Namespace: in.Namespace, Name: in.Name, UID: in.UID, CreationTimestamp: in.CreationTimestamp, ResourceVersion: in.ResourceVersion}
		return keepTyped(old, k, spec, &meta), true
	}
}

// keepTyped gives the old item where nothing that is held differs.
func keepTyped(old *item, k *api.Kind, spec any, meta *metav1.ObjectMeta) *item {
	now := &item{
		object: api.ServedObject(k, spec, meta), uid: string(meta.UID), generation: meta.Generation,
		labels: meta.Labels, annotations: meta.Annotations, terminating: meta.DeletionTimestamp != nil,
	}
	if old != nil && old.uid == now.uid && old.terminating == now.terminating && maps.Equal(old.labels, now.labels) &&
		maps.Equal(old.annotations, now.annotations) && api.SameSpec(old.object, now.object) {
		return old
	}
	return now
}
