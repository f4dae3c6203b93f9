package ir

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// TestSumSeesEveryField fills every field of the package's types in turn: each
// changes the sum, but for origins.
func TestSumSeesEveryField(t *testing.T) {
	zero := Sum(filled(reflect.TypeFor[Proxy](), 1).Interface())
	if again := Sum(filled(reflect.TypeFor[Proxy](), 1).Interface()); again != zero {
		t.Fatal("equal values have different sums")
	}
	each(t, filled(reflect.TypeFor[Proxy](), 1), "Proxy", func(path string, root reflect.Value, change func()) {
		before := Sum(root.Interface())
		change()
		if after := Sum(root.Interface()); after == before {
			t.Errorf("%s does not change the sum", path)
		}
	})
}

// filled makes a value in which everything is set; pointers and slices have one
// element.
func filled(t reflect.Type, n int) reflect.Value {
	v := reflect.New(t).Elem()
	switch t {
	case reflect.TypeFor[netip.Addr]():
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{10, 0, 0, byte(n)})))
		return v
	case reflect.TypeFor[netip.AddrPort]():
		v.Set(reflect.ValueOf(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), uint16(n))))
		return v
	case reflect.TypeFor[netip.Prefix]():
		v.Set(reflect.ValueOf(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, 0, 0}), 8+n)))
		return v
	case reflect.TypeFor[verdict.Origin]():
		return v
	}
	switch t.Kind() {
	case reflect.String:
		v.SetString(string(rune('a' + n)))
	case reflect.Bool:
		v.SetBool(n%2 == 1)
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		v.Elem().Set(filled(t.Elem(), n))
	case reflect.Slice:
		v.Set(reflect.Append(v, filled(t.Elem(), n)))
	case reflect.Struct:
		for i := range t.NumField() {
			v.Field(i).Set(filled(t.Field(i).Type, n))
		}
	case reflect.Float64:
		v.SetFloat(float64(n))
	default:
		if v.CanInt() {
			v.SetInt(int64(n))
		} else {
			v.SetUint(uint64(n))
		}
	}
	return v
}

// each calls f for every leaf below v, with a function that changes it.
func each(t *testing.T, root reflect.Value, path string, f func(path string, root reflect.Value, change func())) {
	t.Helper()
	var walk func(v reflect.Value, path string)
	walk = func(v reflect.Value, path string) {
		leaf := slices.Contains([]reflect.Type{reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.AddrPort](), reflect.TypeFor[netip.Prefix]()}, v.Type())
		switch {
		case v.Type() == reflect.TypeFor[verdict.Origin]():
		case leaf:
			f(path, root, func() { v.Set(filled(v.Type(), 2)) })
		case v.Kind() == reflect.Pointer:
			walk(v.Elem(), path)
			f(path+" (nil)", root, func() { v.SetZero() })
		case v.Kind() == reflect.Slice:
			if v.Type().Elem() != reflect.TypeFor[verdict.Origin]() {
				walk(v.Index(0), path+"[0]")
				f(path+" (empty)", root, func() { v.SetZero() })
			}
		case v.Kind() == reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i), path+"."+v.Type().Field(i).Name)
			}
		default:
			f(path, root, func() { v.Set(filled(v.Type(), 2)) })
		}
	}
	walk(root, path)
}

func TestSumIgnoresOrigins(t *testing.T) {
	r := Route{Name: "a", Timeout: time.Second}
	before := Sum(r)
	r.Origin = verdict.Origin{Ref: verdict.Ref{Kind: "VirtualService", Name: "x"}, Generation: 7}
	if Sum(r) != before {
		t.Error("an origin changes the sum")
	}
}

func TestKeyNames(t *testing.T) {
	k := Key{Direction: OutboundTo, Port: 9080, Subset: "v1", Host: "reviews.default.svc.cluster.local"}
	if got := k.String(); got != "outbound|9080|v1|reviews.default.svc.cluster.local" {
		t.Error(got)
	}
	if got := k.SNI(); got != "outbound_.9080_.v1_.reviews.default.svc.cluster.local" {
		t.Error(got)
	}
	if got := (Key{Direction: InboundTo, Port: 80}).String(); got != "inbound|80||" {
		t.Error(got)
	}
	if got := (Key{Direction: BlackHole}).String(); got != "BlackHoleCluster" {
		t.Error(got)
	}
}
