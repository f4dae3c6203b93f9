package api

import (
	"encoding/json"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Served is an object as an API server gives it.
type Served struct {
	// Object has the server's identity: uid, generation and creationTimestamp.
	// Meta.Version is the resourceVersion where that is a number, else 0.
	Object *Object
	// Unknown lists fields that this version of Lateen does not know; they have no
	// effect.
	Unknown []*DecodeError
}

// DecodeServed reads one object in the JSON of an API server. It is as strict as
// Decode but for unknown fields: the definition that the server has may be newer.
// The error joins *DecodeErrors; Served.Object is nil with it.
func DecodeServed(data []byte) (Served, error) {
	d := &decoder{problems: problems{lenient: true}, namespace: DefaultNamespace}
	docs, ok := parseJSON(data, "")
	if !ok || len(docs) != 1 {
		d.add("", 0, "", fmt.Sprintf("expected one object in JSON, found %d", len(docs)))
		return Served{}, d.err()
	}
	d.document(docs[0])
	if err := d.err(); err != nil {
		return Served{}, err
	}
	if len(d.objects) != 1 {
		d.add("", 0, "", fmt.Sprintf("expected one object, found %d", len(d.objects)))
		return Served{}, d.err()
	}
	o := d.objects[0]
	var server struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	if err := json.Unmarshal(data, &server); err != nil {
		return Served{}, fmt.Errorf("metadata of %s: %w", o.Ref(), err)
	}
	o.Meta.identify(&server.Metadata)
	o.Source = Source{} // the server's JSON is nobody's file
	return Served{Object: o, Unknown: d.unknown}, nil
}

// identify takes over what a server says of an object.
func (m *Meta) identify(s *metav1.ObjectMeta) {
	m.UID = string(s.UID)
	m.Generation = s.Generation
	if !s.CreationTimestamp.IsZero() {
		m.Created = s.CreationTimestamp.UnixNano()
	}
	if v, err := strconv.ParseInt(s.ResourceVersion, 10, 64); err == nil {
		m.Version = v // Kubernetes' resourceVersions are numbers since 1.35 by promise, and were before
	}
}

// ServedObject makes an object of a Kubernetes kind from the typed form in which a
// client gives it.
func ServedObject(k *Kind, spec any, meta *metav1.ObjectMeta) *Object {
	o := &Object{Kind: k, Spec: spec, Meta: Meta{Namespace: meta.Namespace, Name: meta.Name, Labels: meta.Labels, Annotations: meta.Annotations}}
	o.Meta.identify(meta)
	return o
}

// DecodeMessage reads YAML or JSON into a proto message of istio.io/api that is no
// object of its own (MeshConfig), on top of what m holds. unknown lists fields that
// m does not have; everything else that is wrong is an error, and m is then to be
// thrown away. file names the text in errors.
func DecodeMessage(data []byte, file string, m proto.Message) (unknown []*DecodeError, err error) {
	if len(data) > maxInput {
		return nil, &DecodeError{File: file, Msg: fmt.Sprintf("the text is larger than %d MiB", maxInput>>20)}
	}
	docs := parse(data, file)
	p := &problems{file: file, lenient: true}
	for i, doc := range docs {
		switch {
		case len(doc.errs) > 0:
			p.list = append(p.list, doc.errs...)
		case i > 0:
			p.add("", doc.root.line, "", "expected one document")
		default:
			w := &walker{problems: p, lines: map[string]int{}}
			w.message(m.ProtoReflect(), doc.root, "")
		}
	}
	return p.unknown, p.err()
}
