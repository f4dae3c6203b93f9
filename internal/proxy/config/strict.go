package config

import (
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// fate is what becomes of a field that is set.
type fate uint8

const (
	consumed fate = iota + 1 // read; a message in it is walked too
	opaque                   // read as a whole by code that checks it itself
	harmless                 // not read: without effect on what this proxy does
)

// fields are the fates of a message's fields by name. A field that is not here is
// not supported.
type fields map[protoreflect.Name]fate

// table lists the known messages.
type table map[protoreflect.FullName]fields

// has makes fields from lists of names.
func has(read, asWhole, ignored string) fields {
	f := fields{}
	for _, name := range strings.Fields(read) {
		f[protoreflect.Name(name)] = consumed
	}
	for _, name := range strings.Fields(asWhole) {
		f[protoreflect.Name(name)] = opaque
	}
	for _, name := range strings.Fields(ignored) {
		f[protoreflect.Name(name)] = harmless
	}
	return f
}

// known holds every message that parsing meets. It is never changed.
var known = merge(listenerFields, httpFields, http2Fields, routeFields, clusterFields, endpointFields, tlsFields, sharedFields, rbacFields)

func merge(tables ...table) table {
	all := table{}
	for _, t := range tables {
		for name, f := range t {
			all[name] = f
		}
	}
	return all
}

// strict fails for the first field of m, or of a message in it, that is set and
// that parsing neither reads nor may ignore. Any messages are not entered: whoever
// unpacks one calls strict on what it holds.
func strict(s *scope, m proto.Message) error { return walk(s, m.ProtoReflect()) }

func walk(s *scope, m protoreflect.Message) error {
	d := m.Descriptor()
	if d.FullName().Parent() == "google.protobuf" {
		return nil // durations, wrappers, structs: values
	}
	rules, ok := known[d.FullName()]
	if !ok {
		return s.unsupported()
	}
	if len(m.GetUnknown()) > 0 {
		return s.errorf("has a field that this version of the API does not know")
	}
	var err error
	// Range's order is random: the error names the first field by number, so that
	// equal resources give equal errors.
	var failed protoreflect.FieldNumber
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if err != nil && fd.Number() > failed {
			return true
		}
		if e := walkField(s, rules, fd, v); e != nil {
			err, failed = e, fd.Number()
		}
		return true
	})
	return err
}

func walkField(s *scope, rules fields, fd protoreflect.FieldDescriptor, v protoreflect.Value) error {
	name := string(fd.Name())
	switch rules[fd.Name()] {
	case opaque, harmless:
		return nil
	case consumed:
	default:
		return s.at(name).unsupported()
	}
	switch {
	case fd.IsMap() || fd.Message() == nil:
		return nil // parsers read maps entry by entry
	case fd.IsList():
		list := v.List()
		for i := range list.Len() {
			if err := walk(s.item(name, i), list.Get(i).Message()); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(s.at(name), v.Message())
}
