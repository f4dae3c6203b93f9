package config

import (
	"maps"
	"slices"
	"strings"

	xdsudpav1 "github.com/cncf/xds/go/udpa/type/v1"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// Type URLs of wrapped configurations.
const (
	udpaTypedStruct = "type.googleapis.com/udpa.type.v1.TypedStruct"
	xdsTypedStruct  = "type.googleapis.com/xds.type.v3.TypedStruct"
)

// extension is a typed configuration out of its wrapping.
type extension struct {
	url   string
	value []byte           // of the message, or of a Struct where the type is not linked in
	bare  *structpb.Struct // set where the type is not linked in
}

// short is the type's name without the host.
func (e extension) short() string { return e.url[strings.LastIndexByte(e.url, '/')+1:] }

// unwrap reads an Any, which may hold a TypedStruct.
func unwrap(s *scope, a *anypb.Any) (extension, error) {
	var url string
	var value *structpb.Struct
	switch a.GetTypeUrl() {
	case "":
		return extension{}, s.errorf("has no type")
	case udpaTypedStruct:
		ts := &xdsudpav1.TypedStruct{}
		if err := proto.Unmarshal(a.GetValue(), ts); err != nil {
			return extension{}, s.errorf("%w", err)
		}
		url, value = ts.GetTypeUrl(), ts.GetValue()
	case xdsTypedStruct:
		ts := &xdstypev3.TypedStruct{}
		if err := proto.Unmarshal(a.GetValue(), ts); err != nil {
			return extension{}, s.errorf("%w", err)
		}
		url, value = ts.GetTypeUrl(), ts.GetValue()
	default:
		return extension{url: a.GetTypeUrl(), value: a.GetValue()}, nil
	}
	return fromStruct(s, url, value)
}

// fromStruct makes bytes of a configuration that came as a Struct.
func fromStruct(s *scope, url string, value *structpb.Struct) (extension, error) {
	if url == "" {
		return extension{}, s.at("type_url").errorf("is empty")
	}
	if value == nil {
		value = &structpb.Struct{}
	}
	var err error
	e := extension{url: url}
	mt, lookup := protoregistry.GlobalTypes.FindMessageByURL(url)
	if lookup != nil {
		e.bare = value
		if e.value, err = (proto.MarshalOptions{Deterministic: true}).Marshal(value); err != nil {
			return e, s.errorf("%w", err)
		}
		return e, nil
	}
	text, err := protojson.Marshal(value)
	if err != nil {
		return e, s.errorf("%w", err)
	}
	m := mt.New().Interface()
	if err := protojson.Unmarshal(text, m); err != nil {
		return e, s.errorf("%w", err)
	}
	if e.value, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
		return e, s.errorf("%w", err)
	}
	return e, nil
}

// into unmarshals the extension into m, whose type must be the extension's, and
// checks its fields.
func (e extension) into(s *scope, m proto.Message) error {
	if want := string(m.ProtoReflect().Descriptor().FullName()); e.short() != want {
		return s.errorf("type %s is not supported by this proxy, only %s", e.short(), want)
	}
	if err := proto.Unmarshal(e.value, m); err != nil {
		return s.errorf("%w", err)
	}
	return strict(s, m)
}

// unpack is unwrap and into.
func unpack(s *scope, a *anypb.Any, m proto.Message) error {
	e, err := unwrap(s, a)
	if err != nil {
		return err
	}
	return e.into(s, m)
}

// onlyKeys fails for a key of a bare struct that is not listed.
func (e extension) onlyKeys(s *scope, keys ...string) error {
	for _, key := range slices.Sorted(maps.Keys(e.bare.GetFields())) {
		if !slices.Contains(keys, key) {
			return s.at(key).unsupported()
		}
	}
	return nil
}
