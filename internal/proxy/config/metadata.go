package config

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// parseMetadata keeps what the proxy and explain read of filter metadata; the rest
// is there for tools.
func parseMetadata(m *corev3.Metadata) Metadata {
	istio := m.GetFilterMetadata()["istio"]
	md := Metadata{
		Config:   text(istio, "config"),
		Subset:   text(istio, "subset"),
		External: istio.GetFields()["external"].GetBoolValue(),
		Reason:   text(m.GetFilterMetadata()["lateen"], "reason"),
	}
	for _, v := range istio.GetFields()["services"].GetListValue().GetValues() {
		s := v.GetStructValue()
		md.Services = append(md.Services, Service{Host: text(s, "host"), Name: text(s, "name"), Namespace: text(s, "namespace")})
	}
	return md
}

func text(s *structpb.Struct, key string) string { return s.GetFields()[key].GetStringValue() }

// stringMap reads the string values of a struct.
func stringMap(s *structpb.Struct) map[string]string {
	if len(s.GetFields()) == 0 {
		return nil
	}
	out := make(map[string]string, len(s.GetFields()))
	for k, v := range s.GetFields() {
		out[k] = v.GetStringValue()
	}
	return out
}
