package api

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"
)

// EncodeJSON gives o as a Kubernetes API server would: apiVersion, kind,
// metadata with uid, generation, resourceVersion and creationTimestamp where
// they are known, and the content. Decode reads it back.
func EncodeJSON(o *Object) ([]byte, error) {
	doc, err := envelope(o)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", o.Ref(), err)
	}
	return json.Marshal(doc)
}

// EncodeYAML is EncodeJSON in YAML, with keys sorted as kubectl prints them.
func EncodeYAML(o *Object) ([]byte, error) {
	text, err := EncodeJSON(o)
	if err != nil {
		return nil, err
	}
	out, err := yaml.JSONToYAML(text)
	if err != nil {
		return nil, fmt.Errorf("encoding %s: %w", o.Ref(), err)
	}
	return out, nil
}

// envelope gives the object as a JSON map. Maps are marshalled with sorted keys,
// so equal objects give equal bytes.
func envelope(o *Object) (map[string]any, error) {
	doc := map[string]any{}
	if m, ok := o.Spec.(proto.Message); ok && o.Kind.isProto() {
		spec, err := encodeMessage(m.ProtoReflect())
		if err != nil {
			return nil, err
		}
		doc["spec"] = spec
	} else {
		text, err := json.Marshal(o.Spec)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(text, &doc); err != nil {
			return nil, err
		}
		if status, ok := doc["status"].(map[string]any); ok && empty(status) {
			delete(doc, "status")
		}
	}
	doc["apiVersion"] = o.Kind.APIVersion()
	doc["kind"] = o.Kind.Name
	doc["metadata"] = o.metadata()
	return doc, nil
}

// empty reports whether a map holds nothing but nulls and empty maps.
func empty(m map[string]any) bool {
	for _, v := range m {
		if v == nil {
			continue
		}
		if inner, ok := v.(map[string]any); !ok || !empty(inner) {
			return false
		}
	}
	return true
}

func (o *Object) metadata() map[string]any {
	m := &o.Meta
	meta := map[string]any{"name": m.Name}
	if m.Namespace != "" {
		meta["namespace"] = m.Namespace
	}
	if m.UID != "" {
		meta["uid"] = m.UID
	}
	if m.Generation > 0 {
		meta["generation"] = m.Generation
	}
	if m.Version > 0 {
		meta["resourceVersion"] = strconv.FormatInt(m.Version, 10)
	}
	if m.Created > 0 {
		meta["creationTimestamp"] = time.Unix(0, m.Created).UTC().Format(time.RFC3339)
	}
	if len(m.Labels) > 0 {
		meta["labels"] = m.Labels
	}
	if len(m.Annotations) > 0 {
		meta["annotations"] = m.Annotations
	}
	return meta
}
