package api

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// encodeMessage gives a message's JSON in the form that message reads and users
// write: protojson's, but 64-bit numbers are numbers and durations are Go's
// ("1m30s", "100ms").
func encodeMessage(m protoreflect.Message) (any, error) {
	if v, ok, err := encodeWellKnown(m); ok || err != nil {
		return v, err
	}
	out := map[string]any{}
	var failed error
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		var value any
		switch {
		case fd.IsList():
			value, failed = encodeList(fd, v.List())
		case fd.IsMap():
			value, failed = encodeMap(fd, v.Map())
		default:
			value, failed = encodeValue(fd, v)
		}
		out[fd.JSONName()] = value
		return failed == nil
	})
	return out, failed
}

func encodeList(fd protoreflect.FieldDescriptor, list protoreflect.List) (any, error) {
	out := make([]any, list.Len())
	for i := range out {
		v, err := encodeValue(fd, list.Get(i))
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

func encodeMap(fd protoreflect.FieldDescriptor, m protoreflect.Map) (any, error) {
	out := map[string]any{}
	var failed error
	m.Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
		out[k.String()], failed = encodeValue(fd.MapValue(), v)
		return failed == nil
	})
	return out, failed
}

func encodeValue(fd protoreflect.FieldDescriptor, v protoreflect.Value) (any, error) {
	switch fd.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return encodeMessage(v.Message())
	case protoreflect.EnumKind:
		if e := fd.Enum().Values().ByNumber(v.Enum()); e != nil {
			return string(e.Name()), nil
		}
		return nil, fmt.Errorf("%s has no value %d", fd.Enum().FullName(), v.Enum())
	case protoreflect.BytesKind:
		return base64.StdEncoding.EncodeToString(v.Bytes()), nil
	default:
		return v.Interface(), nil
	}
}

// encodeWellKnown is the counterpart of walker.wellKnown.
func encodeWellKnown(m protoreflect.Message) (value any, ok bool, err error) {
	md := m.Descriptor()
	if md.ParentFile().Package() != "google.protobuf" {
		return nil, false, nil
	}
	if d, ok := m.Interface().(*durationpb.Duration); ok {
		return formatDuration(d.AsDuration()), true, nil
	}
	if fd := md.Fields().ByName("value"); fd != nil && md.Fields().Len() == 1 && !fd.IsList() {
		v, err := encodeValue(fd, m.Get(fd)) // one of the wrappers
		return v, true, err
	}
	text, err := protojson.Marshal(m.Interface())
	return json.RawMessage(text), true, err
}

// formatDuration gives "1h" and "1m30s" where Go gives "1h0m0s" and "1m30s".
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return strings.Replace(s, "µs", "us", 1)
}
