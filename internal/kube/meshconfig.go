package kube

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

const (
	// meshMap is the ConfigMap of the mesh's configuration (with a revision:
	// istio-REV) and meshKey its key.
	meshMap = "istio"
	meshKey = "mesh"

	defaultTrustDomain = "cluster.local"
)

// parseMesh reads the mesh's configuration: the shared one first, then the own,
// field by field over it. A missing document is empty. An error leaves the
// configuration before in force; statuses name fields that are not known.
func parseMesh(system string, shared, own *Document) (*meshconfig.MeshConfig, []verdict.Status, error) {
	m := &meshconfig.MeshConfig{}
	var statuses []verdict.Status
	var errs []error
	for _, d := range []*Document{shared, own} {
		if d == nil {
			continue
		}
		file := "ConfigMap " + d.Namespace + "/" + d.Name
		layer := &meshconfig.MeshConfig{}
		unknown, err := api.DecodeMessage(d.Data[meshKey], file, layer)
		if err != nil {
			errs = append(errs, err)
		}
		overlay(m.ProtoReflect(), layer.ProtoReflect())
		origin := verdict.Origin{Ref: verdict.Ref{Kind: api.KindConfigMap, Namespace: d.Namespace, Name: d.Name}}
		for _, u := range unknown {
			statuses = append(statuses, verdict.Status{Origin: origin.At(u.Path), Code: verdict.NotActedOn, Message: u.Msg})
		}
	}
	if len(errs) > 0 {
		return nil, nil, fmt.Errorf("the mesh's configuration: %w", errors.Join(errs...))
	}
	if m.RootNamespace == "" {
		m.RootNamespace = system
	}
	if m.TrustDomain == "" {
		m.TrustDomain = defaultTrustDomain
	}
	return m, statuses, nil
}

// overlay sets in m what is set in layer: messages field by field, maps by key, all
// else as a whole.
func overlay(m, layer protoreflect.Message) {
	layer.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap():
			into := m.Mutable(fd).Map()
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				into.Set(k, v)
				return true
			})
		case fd.Message() != nil && !fd.IsList() && fd.Message().ParentFile().Package() != "google.protobuf":
			overlay(m.Mutable(fd).Message(), v.Message())
		default:
			m.Set(fd, v)
		}
		return true
	})
}

func sameMesh(a, b *meshconfig.MeshConfig) bool { return a != nil && proto.Equal(a, b) }
