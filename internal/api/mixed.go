package api

import (
	"encoding/json"
	"io"
	"slices"
	"strings"
)

// Other is a document of a kind that the mesh does not read, such as a
// StatefulSet or a CustomResourceDefinition in a directory of manifests.
type Other struct {
	APIVersion, Kind string
	Namespace, Name  string
	Source           Source
	JSON             json.RawMessage
}

// DecodeMixed is DecodeIn for directories of manifests: documents of kinds that
// belong to others are no mistakes and are given beside the objects. Kinds of the
// groups that the mesh reads must be known, and a kind of Kubernetes that looks
// like a misspelt one is a mistake still.
func DecodeMixed(r io.Reader, file, namespace string) (objects []*Object, others []Other, err error) {
	d := &decoder{problems: problems{file: file}, namespace: namespace, mixed: true}
	if err := d.read(r); err != nil {
		return nil, nil, err
	}
	return d.objects, d.others, d.err()
}

// foreign takes a document of a kind that is not known as somebody else's, where
// that can be; it reports whether it did.
func (d *decoder) foreign(n *node, apiVersion, kind string) bool {
	if !d.mixed {
		return false
	}
	group, _, qualified := strings.Cut(apiVersion, "/")
	if !qualified {
		group = GroupCore
	}
	ours := func(k *Kind) bool { return k.Group == group }
	if strings.HasSuffix(group, ".istio.io") || group == GroupGatewayAPI {
		return false
	}
	if slices.ContainsFunc(kinds, ours) {
		var names []string
		for _, k := range kinds {
			if k.Name == kind {
				return false // a version that is not served
			}
			names = append(names, k.Name)
		}
		if nearest(kind, names) != "" && !slices.Contains(builtin, kind) {
			return false
		}
	}
	o := Other{APIVersion: apiVersion, Kind: kind, Source: Source{File: d.file, Line: n.line}, JSON: n.json(), Namespace: d.namespace}
	if meta := n.get("metadata"); meta != nil && meta.kind == mapNode {
		if v := meta.get("name"); v != nil && v.kind == stringNode {
			o.Name = v.text
		}
		if v := meta.get("namespace"); v != nil && v.kind == stringNode && v.text != "" {
			o.Namespace = v.text
		}
	}
	d.others = append(d.others, o)
	return true
}

// builtin are kinds of Kubernetes in the groups that the mesh reads some of.
var builtin = []string{
	"Pod", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Endpoints", "Event", "LimitRange", "Node",
	"PersistentVolume", "PersistentVolumeClaim", "PodTemplate", "ResourceQuota", "ControllerRevision", "Binding", "ComponentStatus",
}
