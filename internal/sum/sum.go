// Package sum hashes values of any type over everything they hold. Equal values
// have equal sums in every process.
package sum

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	"slices"

	"github.com/cespare/xxhash/v2"
)

// Of hashes a value; fields and elements of the types in without are left out.
func Of(v any, without ...reflect.Type) uint64 {
	h := summer{xxhash.New(), without}
	h.value(reflect.ValueOf(v))
	return h.d.Sum64()
}

// Join makes one sum of several, in their order.
func Join(sums ...uint64) uint64 {
	h := summer{d: xxhash.New()}
	for _, s := range sums {
		h.number(s)
	}
	return h.d.Sum64()
}

type summer struct {
	d       *xxhash.Digest
	without []reflect.Type
}

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
	if !v.IsValid() { // a nil in an interface
		h.number(0)
		return
	}
	t := v.Type()
	if slices.Contains(h.without, t) {
		return
	}
	if t.PkgPath() == "net/netip" { // whose fields are not exported
		h.address(v.Interface())
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
		h.list(v)
	case reflect.Map:
		h.mapping(v)
	default:
		h.scalar(v)
	}
}

func (h summer) address(v any) {
	var b [64]byte
	switch a := v.(type) {
	case netip.Addr:
		h.text(string(a.AppendTo(b[:0])))
	case netip.AddrPort:
		h.text(string(a.AppendTo(b[:0])))
	default:
		h.text(fmt.Sprint(v))
	}
}

func (h summer) list(v reflect.Value) {
	if v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8 {
		h.number(uint64(v.Len()))
		_, _ = h.d.Write(v.Bytes()) // a digest never fails
		return
	}
	h.number(uint64(v.Len()))
	for i := range v.Len() {
		h.value(v.Index(i))
	}
}

// mapping adds up the sums of a map's entries, so that their order does not matter.
func (h summer) mapping(v reflect.Value) {
	sums := make([]uint64, 0, v.Len())
	for it := v.MapRange(); it.Next(); {
		e := summer{xxhash.New(), h.without}
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
		// Tests hash every type that is summed and fail here first.
		h.text("no sum for " + v.Type().String())
	}
}
