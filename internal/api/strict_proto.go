package api

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"
)

// message fills m from n. The semantics are those of the JSON form of
// protobufs with the rules that the API server's schemas add: fields go by their
// JSON names only, enums by name only, numbers are not quoted. Durations are
// Go's ("1h", "100ms"), as Istio reads them, where protojson knows seconds only.
func (w *walker) message(m protoreflect.Message, n *node, path string) {
	if w.wellKnown(m, n, path) {
		return
	}
	fields := m.Descriptor().Fields()
	chosen := map[protoreflect.FullName]string{}
	for _, f := range w.fields(n, path, "a map") {
		at := joinPath(path, f.key)
		w.lines[at] = f.line
		fd := fields.ByJSONName(f.key)
		if fd == nil {
			w.unknown(f, path, jsonNames(fields))
			continue
		}
		if f.value.kind == nullNode {
			continue // protojson: null is the same as absent
		}
		if oneof := fd.ContainingOneof(); oneof != nil && !oneof.IsSynthetic() {
			if other, twice := chosen[oneof.FullName()]; twice {
				w.fail(f.line, at, fmt.Sprintf("only one of %s and %s can be set", other, f.key))
				continue
			}
			chosen[oneof.FullName()] = f.key
		}
		switch {
		case fd.IsMap():
			w.protoMap(m, fd, f.value, at)
		case fd.IsList():
			w.protoList(m, fd, f.value, at)
		default:
			if v, ok := w.protoValue(m.NewField(fd), fd, f.value, at); ok {
				m.Set(fd, v)
			}
		}
	}
}

func jsonNames(fields protoreflect.FieldDescriptors) []string {
	names := make([]string, fields.Len())
	for i := range names {
		names[i] = fields.Get(i).JSONName()
	}
	return names
}

func (w *walker) protoList(m protoreflect.Message, fd protoreflect.FieldDescriptor, n *node, path string) {
	items := w.list(n, path)
	if len(items) == 0 {
		return
	}
	list := m.Mutable(fd).List()
	for i, item := range items {
		at := indexPath(path, i)
		w.lines[at] = item.line
		if item.kind == nullNode {
			w.fail(item.line, at, "a list has no empty entries")
			continue
		}
		if v, ok := w.protoValue(list.NewElement(), fd, item, at); ok {
			list.Append(v)
		}
	}
}

func (w *walker) protoMap(m protoreflect.Message, fd protoreflect.FieldDescriptor, n *node, path string) {
	fields := w.fields(n, path, "a map")
	if len(fields) == 0 {
		return
	}
	into := m.Mutable(fd).Map()
	for _, f := range fields {
		at := keyPath(path, f.key)
		w.lines[at] = f.line
		key, ok := w.mapKey(fd.MapKey(), f, at)
		if !ok {
			continue
		}
		if f.value.kind == nullNode && fd.MapValue().Message() == nil {
			w.fail(f.line, at, "a value is missing")
			continue
		}
		if v, ok := w.protoValue(into.NewValue(), fd.MapValue(), f.value, at); ok {
			into.Set(key, v)
		}
	}
}

func (w *walker) mapKey(fd protoreflect.FieldDescriptor, f field, path string) (protoreflect.MapKey, bool) {
	switch fd.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString(f.key).MapKey(), true
	case protoreflect.Uint32Kind:
		u, err := strconv.ParseUint(f.key, 10, 32)
		if err != nil {
			w.fail(f.line, path, fmt.Sprintf("the key must be a whole number, found %q", shorten(f.key)))
			return protoreflect.MapKey{}, false
		}
		return protoreflect.ValueOfUint32(uint32(u)).MapKey(), true
	}
	w.fail(f.line, path, fmt.Sprintf("keys of kind %s are not supported", fd.Kind()))
	return protoreflect.MapKey{}, false
}

// protoValue reads one value; empty is a new value of the field's type, which
// messages are built in.
func (w *walker) protoValue(empty protoreflect.Value, fd protoreflect.FieldDescriptor, n *node, path string) (protoreflect.Value, bool) {
	switch fd.Kind() {
	case protoreflect.MessageKind:
		w.message(empty.Message(), n, path)
		return empty, true
	case protoreflect.BoolKind:
		b, ok := w.boolean(n, path)
		return protoreflect.ValueOfBool(b), ok
	case protoreflect.StringKind:
		s, ok := w.str(n, path)
		return protoreflect.ValueOfString(s), ok
	case protoreflect.BytesKind:
		b, ok := w.base64(n, path)
		return protoreflect.ValueOfBytes(b), ok
	case protoreflect.EnumKind:
		return w.enum(fd.Enum(), n, path)
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		i, _, ok := w.integer(n, path, 32, true)
		return protoreflect.ValueOfInt32(int32(i)), ok
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		i, _, ok := w.integer(n, path, 64, true)
		return protoreflect.ValueOfInt64(i), ok
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		_, u, ok := w.integer(n, path, 32, false)
		return protoreflect.ValueOfUint32(uint32(u)), ok
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		_, u, ok := w.integer(n, path, 64, false)
		return protoreflect.ValueOfUint64(u), ok
	case protoreflect.DoubleKind:
		f, ok := w.float(n, path)
		return protoreflect.ValueOfFloat64(f), ok
	case protoreflect.FloatKind:
		f, ok := w.float(n, path)
		return protoreflect.ValueOfFloat32(float32(f)), ok
	}
	w.fail(n.line, path, fmt.Sprintf("fields of kind %s are not supported", fd.Kind()))
	return protoreflect.Value{}, false
}

func (w *walker) enum(ed protoreflect.EnumDescriptor, n *node, path string) (protoreflect.Value, bool) {
	names := make([]string, ed.Values().Len())
	for i := range names {
		names[i] = string(ed.Values().Get(i).Name())
	}
	if n.kind == stringNode {
		if v := ed.Values().ByName(protoreflect.Name(n.text)); v != nil {
			return protoreflect.ValueOfEnum(v.Number()), true
		}
	}
	msg := fmt.Sprintf("expected one of %s, found %s", strings.Join(names, ", "), n.describe())
	if n.kind == stringNode {
		msg += didYouMean(n.text, names)
	}
	w.fail(n.line, path, msg)
	return protoreflect.Value{}, false
}

func (w *walker) base64(n *node, path string) ([]byte, bool) {
	s, ok := w.str(n, path)
	if !ok {
		return nil, false
	}
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil {
		w.fail(n.line, path, "the value is not base64")
		return nil, false
	}
	return b, true
}

// wellKnown reads the messages that have a JSON form of their own.
func (w *walker) wellKnown(m protoreflect.Message, n *node, path string) bool {
	md := m.Descriptor()
	if md.ParentFile().Package() != "google.protobuf" {
		return false
	}
	switch md.Name() {
	case "Duration":
		if d, ok := w.duration(n, path); ok {
			proto.Merge(m.Interface(), durationpb.New(d))
		}
	case "BoolValue", "StringValue", "BytesValue", "DoubleValue", "FloatValue", "Int32Value", "Int64Value", "UInt32Value", "UInt64Value":
		fd := md.Fields().ByName("value")
		if v, ok := w.protoValue(m.NewField(fd), fd, n, path); ok {
			m.Set(fd, v)
		}
	default: // Struct, Value, ListValue, Any, Timestamp: rare, and free in form
		if err := (protojson.UnmarshalOptions{}).Unmarshal(n.json(), m.Interface()); err != nil {
			w.fail(n.line, path, fmt.Sprintf("not a valid %s: found %s", md.Name(), n.describe()))
		}
	}
	return true
}
