package api

import (
	"reflect"

	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/api/equality"
)

// SameSpec reports whether a and b, of the same kind, have the same content:
// all but metadata. Absent and empty lists and maps are the same.
func SameSpec(a, b *Object) bool {
	if a.Kind.isProto() {
		am, aok := a.Spec.(proto.Message)
		bm, bok := b.Spec.(proto.Message)
		return aok && bok && proto.Equal(am, bm)
	}
	return equality.Semantic.DeepEqual(content(a), content(b))
}

// content gives a copy of a Kubernetes object without its metadata, and of one of
// the Gateway API without its status, which controllers write. The copy is shallow:
// the content itself is only compared.
func content(o *Object) any {
	spec := o.Spec
	v := reflect.ValueOf(spec)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return spec
	}
	c := reflect.New(v.Elem().Type())
	c.Elem().Set(v.Elem())
	names := []string{"ObjectMeta", "TypeMeta"}
	if o.Kind.Group == GroupGatewayAPI {
		names = append(names, "Status")
	}
	for _, name := range names {
		if f := c.Elem().FieldByName(name); f.IsValid() && f.CanSet() {
			f.SetZero()
		}
	}
	return c.Interface()
}
