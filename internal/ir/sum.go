package ir

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/cespare/xxhash/v2"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Sum hashes any value made of this package's types, over everything it holds
// except origins: two values that a data plane cannot tell apart have one sum,
// wherever they come from.
func Sum(v any) uint64 {
	h := summer{xxhash.New()}
	h.value(reflect.ValueOf(v))
	return h.d.Sum64()
}

type summer struct{ d *xxhash.Digest }

var (
	originType = reflect.TypeFor[verdict.Origin]()
	bytesType  = reflect.TypeFor[Private]()
)

func (h summer) number(n uint64) {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	_, _ = h.d.Write(b[:]) // a digest never fails
}

func (h summer) text(s string) {
	h.number(uint64(len(s)))
	_, _ = h.d.WriteString(s) // a digest never fails
}

func (h summer) value(v reflect.Value) {
	switch {
	case v.Type() == originType:
		return
	case v.Type() == bytesType:
		h.text(string(v.Bytes()))
		return
	case v.Type().PkgPath() == "net/netip": // whose fields are not exported
		h.text(fmt.Sprint(v.Interface()))
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			h.number(0)
			return
		}
		h.number(1)
		h.value(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			h.value(v.Field(i))
		}
	case reflect.Slice, reflect.Array:
		h.number(uint64(v.Len()))
		for i := range v.Len() {
			h.value(v.Index(i))
		}
	case reflect.Map:
		h.mapping(v)
	default:
		h.scalar(v)
	}
}

// mapping adds up the sums of a map's entries, so that their order does not matter.
func (h summer) mapping(v reflect.Value) {
	sums := make([]uint64, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		e := summer{xxhash.New()}
		e.value(it.Key())
		e.value(it.Value())
		sums = append(sums, e.d.Sum64())
	}
	slices.Sort(sums)
	h.number(uint64(len(sums)))
	for _, s := range sums {
		h.number(s)
	}
}

func (h summer) scalar(v reflect.Value) {
	switch {
	case v.Kind() == reflect.String:
		h.text(v.String())
	case v.Kind() == reflect.Bool:
		if v.Bool() {
			h.number(1)
		} else {
			h.number(0)
		}
	case v.CanInt():
		h.number(uint64(v.Int()))
	case v.CanUint():
		h.number(v.Uint())
	case v.CanFloat():
		h.number(math.Float64bits(v.Float()))
	default:
		// A test hashes every type of the package and fails here first.
		h.text("no sum for " + v.Type().String())
	}
}
