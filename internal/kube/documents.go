package kube

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
)

// FieldManager owns what Lateen applies; StatusManager owns conditions.
const (
	FieldManager  = "lateen"
	StatusManager = "lateen-status"
)

// requestTimeout bounds one request that is not a watch.
const requestTimeout = 15 * time.Second

// Document is a Secret or ConfigMap as far as the mesh uses them.
type Document struct {
	Namespace, Name string
	Type            string // of Secrets; "" is Opaque
	Labels          map[string]string
	Annotations     map[string]string
	Data            map[string][]byte // of ConfigMaps: data and binaryData
	// Version changes with every change of the object (resourceVersion). Update
	// with a version fails with ErrConflict where the object has another one.
	Version string
}

// Secret reads a Secret; ErrNotFound where there is none.
func (c *Client) Secret(ctx context.Context, namespace, name string) (Document, error) {
	ctx, cancel := context.WithTimeout(c.context(ctx), requestTimeout)
	defer cancel()
	s, err := c.typed.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Document{}, explain(err, "reading Secret %s/%s", namespace, name)
	}
	return secretDocument(s), nil
}

// CreateSecret makes a Secret that must not exist: ErrExists tells that somebody
// else was first, whose Secret is the one to use.
func (c *Client) CreateSecret(ctx context.Context, d Document) error {
	ctx, cancel := context.WithTimeout(c.context(ctx), requestTimeout)
	defer cancel()
	_, err := c.typed.CoreV1().Secrets(d.Namespace).Create(ctx, d.secret(), metav1.CreateOptions{FieldManager: FieldManager})
	return explain(err, "creating Secret %s/%s", d.Namespace, d.Name)
}

// UpdateSecret replaces a Secret's content. With d.Version set it fails with
// ErrConflict where the Secret has changed since.
func (c *Client) UpdateSecret(ctx context.Context, d Document) error {
	ctx, cancel := context.WithTimeout(c.context(ctx), requestTimeout)
	defer cancel()
	_, err := c.typed.CoreV1().Secrets(d.Namespace).Update(ctx, d.secret(), metav1.UpdateOptions{FieldManager: FieldManager})
	return explain(err, "updating Secret %s/%s", d.Namespace, d.Name)
}

// ConfigMap reads a ConfigMap; ErrNotFound where there is none.
func (c *Client) ConfigMap(ctx context.Context, namespace, name string) (Document, error) {
	ctx, cancel := context.WithTimeout(c.context(ctx), requestTimeout)
	defer cancel()
	m, err := c.typed.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return Document{}, explain(err, "reading ConfigMap %s/%s", namespace, name)
	}
	return configMapDocument(m), nil
}

// ApplyConfigMap makes a ConfigMap or brings it to what d says, by server-side
// apply: keys and labels that others own stay. Data must be text.
func (c *Client) ApplyConfigMap(ctx context.Context, d Document) error {
	ctx, cancel := context.WithTimeout(c.context(ctx), requestTimeout)
	defer cancel()
	text := make(map[string]string, len(d.Data))
	for k, v := range d.Data {
		text[k] = string(v)
	}
	m := coreapply.ConfigMap(d.Name, d.Namespace).WithLabels(d.Labels).WithAnnotations(d.Annotations).WithData(text)
	_, err := c.typed.CoreV1().ConfigMaps(d.Namespace).Apply(ctx, m, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	return explain(err, "applying ConfigMap %s/%s", d.Namespace, d.Name)
}

func (d *Document) meta() metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: d.Namespace, Name: d.Name, Labels: d.Labels, Annotations: d.Annotations, ResourceVersion: d.Version}
}

func (d *Document) secret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: d.meta(), Type: corev1.SecretType(d.Type), Data: d.Data}
}

func secretDocument(s *corev1.Secret) Document {
	return Document{
		Namespace: s.Namespace, Name: s.Name, Type: string(s.Type), Labels: s.Labels, Annotations: s.Annotations,
		Data: s.Data, Version: s.ResourceVersion,
	}
}

func configMapDocument(m *corev1.ConfigMap) Document {
	d := Document{
		Namespace: m.Namespace, Name: m.Name, Labels: m.Labels, Annotations: m.Annotations,
		Data: make(map[string][]byte, len(m.Data)+len(m.BinaryData)), Version: m.ResourceVersion,
	}
	for k, v := range m.Data {
		d.Data[k] = []byte(v)
	}
	for k, v := range m.BinaryData {
		d.Data[k] = v
	}
	return d
}
