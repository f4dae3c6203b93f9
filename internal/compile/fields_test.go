package compile_test

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/xds/build"
)

// notOnTheWire are fields of the ir that explain and status read, or that travel
// apart from the resources.
var notOnTheWire = map[string]string{
	"Proxy.Namespace":   "for explain",
	"Route.Passthrough": "for explain: the cluster says it on the wire",
}

// TestEveryIRFieldMatters sets each field of the ir to zero, in each golden case:
// some resource of some case must come out different. A field that nothing reads
// would be configuration that is ignored silently, and a field that no case sets
// one that no test sees.
func TestEveryIRFieldMatters(t *testing.T) {
	type input struct {
		in map[string]string
		cn caseNode
	}
	var cases []input
	eachCase(t, func(_ *testing.T, in map[string]string, cn caseNode) { cases = append(cases, input{in, cn}) })
	open := map[string]bool{}
	irFields(reflect.TypeFor[ir.Proxy](), open)
	for _, c := range cases {
		p := run(t, c.in, c.cn, nil)
		for _, name := range slices.Sorted(maps.Keys(open)) {
			changed, touched := cloneWithout(reflect.ValueOf(p.proxy), name)
			if !touched {
				continue
			}
			set, err := build.Resources(changed.Interface().(*ir.Proxy))
			if err != nil || !equalSets(set, p.set) {
				delete(open, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(open)) {
		if _, ok := notOnTheWire[name]; !ok {
			t.Errorf("%s: no golden case comes out different without it", name)
		}
	}
}

func equalSets(a, b *build.Set) bool {
	x, y := all(a), all(b)
	return slices.EqualFunc(x, y, func(r, s build.Resource) bool { return r.Name == s.Name && r.Hash == s.Hash })
}

// irFields collects "Type.Field" of every struct of package ir below t. Origins are
// not configuration.
func irFields(t reflect.Type, into map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice:
		irFields(t.Elem(), into)
	case reflect.Struct:
		if !strings.HasSuffix(t.PkgPath(), "internal/ir") {
			return
		}
		for i := range t.NumField() {
			f := t.Field(i)
			name := t.Name() + "." + f.Name
			if into[name] || f.Type == reflect.TypeFor[verdict.Origin]() || f.Type == reflect.TypeFor[[]verdict.Origin]() {
				continue
			}
			into[name] = true
			irFields(f.Type, into)
		}
	}
}

// cloneWithout copies v with every field of the name "Type.Field" set to zero.
// touched is false where none was set.
func cloneWithout(v reflect.Value, name string) (out reflect.Value, touched bool) {
	out = reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return v, false
		}
		elem, t := cloneWithout(v.Elem(), name)
		out.Set(reflect.New(v.Type().Elem()))
		out.Elem().Set(elem)
		return out, t
	case reflect.Slice:
		if v.IsNil() {
			return v, false
		}
		out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
		for i := range v.Len() {
			elem, t := cloneWithout(v.Index(i), name)
			out.Index(i).Set(elem)
			touched = touched || t
		}
		return out, touched
	case reflect.Struct:
		if !strings.HasSuffix(v.Type().PkgPath(), "internal/ir") {
			return v, false
		}
		for i := range v.NumField() {
			if v.Type().Name()+"."+v.Type().Field(i).Name == name {
				touched = touched || !v.Field(i).IsZero()
				continue
			}
			elem, t := cloneWithout(v.Field(i), name)
			out.Field(i).Set(elem)
			touched = touched || t
		}
		return out, touched
	}
	return v, false
}
