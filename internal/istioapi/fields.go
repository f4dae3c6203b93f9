package istioapi

import (
	"strconv"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// coverage adds a verdict for every field that is set in spec but that this
// package does not read, by the tables of coverage.go.
func (r *reader) coverage(at verdict.Origin, spec proto.Message) {
	r.walkMessage(at.At("spec"), spec.ProtoReflect())
}

func (r *reader) walkMessage(at verdict.Origin, m protoreflect.Message) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		here := at.At(f.JSONName())
		name := fieldName(f)
		if why, ok := unread(name); ok {
			r.say(here, why.code, "%s", why.message)
			continue
		}
		if meshElsewhere[name] && r.onMachine {
			r.say(here, verdict.NotActedOn, "acts on Kubernetes, not in a mesh on one machine")
			continue
		}
		if !isRead[name] && !meshRead[name] && !meshElsewhere[name] {
			r.say(here, verdict.NotActedOn, "this version does not know the field")
			continue
		}
		r.walkField(here, f, m.Get(f))
	}
}

// walkField descends into messages, lists and maps of messages.
func (r *reader) walkField(at verdict.Origin, f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case f.IsMap():
		if !descends(f.MapValue()) {
			return
		}
		v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
			r.walkMessage(at.At("["+strconv.Quote(k.String())+"]"), v.Message())
			return true // order does not matter: verdicts are sorted
		})
	case !descends(f):
	case f.IsList():
		for i := range v.List().Len() {
			r.walkMessage(at.At("["+strconv.Itoa(i)+"]"), v.List().Get(i).Message())
		}
	default:
		r.walkMessage(at, v.Message())
	}
}

// descends reports whether a field holds messages of the API, not of protobuf's
// well-known types.
func descends(f protoreflect.FieldDescriptor) bool {
	return f.Kind() == protoreflect.MessageKind && f.Message().ParentFile().Package() != "google.protobuf"
}

// fieldName is the key of the coverage tables: the field's full name without the
// package, "HTTPMatchRequest.ignore_uri_case".
func fieldName(f protoreflect.FieldDescriptor) string {
	return string(f.FullName())[len(f.ParentFile().Package())+1:]
}
