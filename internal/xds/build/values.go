package build

import (
	"math"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

func address(ip string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       ip,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

// optional is a duration, nil where it is 0.
func optional(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// limit is a number, nil where it is 0.
func limit(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		return nil
	}
	return wrapperspb.UInt32(n)
}

func pointed(n *uint32) *wrapperspb.UInt32Value {
	if n == nil {
		return nil
	}
	return wrapperspb.UInt32(*n)
}

// perMillion turns a percentage into Envoy's fraction, rounded to its resolution.
func perMillion(percent float64) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: uint32(math.Round(percent * 10_000)), Denominator: typev3.FractionalPercent_MILLION}
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   durationpb.New(0),
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}

// object makes a struct of pairs of keys and values; a nil value is left out.
func object(pairs ...any) *structpb.Struct {
	s := &structpb.Struct{Fields: make(map[string]*structpb.Value, len(pairs)/2)}
	for i := 0; i+1 < len(pairs); i += 2 {
		if v := value(pairs[i+1]); v != nil {
			s.Fields[pairs[i].(string)] = v
		}
	}
	return s
}

func value(v any) *structpb.Value {
	switch v := v.(type) {
	case string:
		return structpb.NewStringValue(v)
	case bool:
		return structpb.NewBoolValue(v)
	case *structpb.Struct:
		return structpb.NewStructValue(v)
	case []*structpb.Struct:
		list := &structpb.ListValue{}
		for _, s := range v {
			list.Values = append(list.Values, structpb.NewStructValue(s))
		}
		return structpb.NewListValue(list)
	}
	return nil
}

// kinds of objects in the paths of istio.config, and the groups they are of.
var configPaths = map[string]string{
	"VirtualService":  "virtual-service",
	"DestinationRule": "destination-rule",
}

// configPath names an object as Istio does in the metadata of routes and clusters;
// "" for kinds that Istio does not name there.
func configPath(r verdict.Ref) string {
	kind := configPaths[r.Kind]
	if kind == "" {
		return ""
	}
	return strings.Join([]string{"/apis/networking.istio.io/v1/namespaces", r.Namespace, kind, r.Name}, "/")
}

// metadata makes filter metadata of structs; empty ones are left out, and nil is
// returned when nothing is left.
func metadata(parts map[string]*structpb.Struct) *corev3.Metadata {
	out := map[string]*structpb.Struct{}
	for name, s := range parts {
		if len(s.GetFields()) > 0 {
			out[name] = s
		}
	}
	if len(out) == 0 {
		return nil
	}
	return &corev3.Metadata{FilterMetadata: out}
}

// ruleMetadata names the object behind a node, and why it answers by itself.
func ruleMetadata(ref verdict.Ref, reason string) *corev3.Metadata {
	parts := map[string]*structpb.Struct{}
	if path := configPath(ref); path != "" {
		parts["istio"] = object("config", path)
	}
	if reason != "" {
		parts["lateen"] = object("reason", reason)
	}
	return metadata(parts)
}
