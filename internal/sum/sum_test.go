package sum_test

import (
	"net/netip"
	"reflect"
	"testing"

	"github.com/lateen-mesh/lateen/internal/sum"
)

type leaf struct{ N int }

type tree struct {
	Name string
	Map  map[string]int
	List []leaf
	Ptr  *leaf
	Any  any
	Addr netip.Addr
	At   netip.AddrPort
	Raw  []byte
	F    float64
	B    bool
}

func full() tree {
	return tree{
		Name: "a", Map: map[string]int{"x": 1, "y": 2}, List: []leaf{{1}, {2}}, Ptr: &leaf{3}, Any: leaf{4},
		Addr: netip.MustParseAddr("10.0.0.1"), At: netip.MustParseAddrPort("10.0.0.1:80"), Raw: []byte("raw"), F: 1.5, B: true,
	}
}

func TestOf(t *testing.T) {
	base := sum.Of(full())
	if again := sum.Of(full()); again != base {
		t.Errorf("equal values have the sums %x and %x", base, again)
	}
	for name, change := range map[string]func(*tree){
		"string":          func(v *tree) { v.Name = "b" },
		"map value":       func(v *tree) { v.Map["x"] = 2 },
		"values swapped":  func(v *tree) { v.Map = map[string]int{"x": 2, "y": 1} },
		"map entry":       func(v *tree) { delete(v.Map, "y") },
		"list order":      func(v *tree) { v.List = []leaf{{2}, {1}} },
		"list length":     func(v *tree) { v.List = v.List[:1] },
		"pointer":         func(v *tree) { v.Ptr.N = 4 },
		"nil pointer":     func(v *tree) { v.Ptr = nil },
		"interface":       func(v *tree) { v.Any = leaf{5} },
		"nil interface":   func(v *tree) { v.Any = nil },
		"address":         func(v *tree) { v.Addr = v.Addr.Next() },
		"port":            func(v *tree) { v.At = netip.AddrPortFrom(v.At.Addr(), 81) },
		"bytes":           func(v *tree) { v.Raw = []byte("rav") },
		"float":           func(v *tree) { v.F = 2.5 },
		"bool":            func(v *tree) { v.B = false },
		"shifted strings": func(v *tree) { v.Name, v.Raw = "ar", []byte("aw") },
	} {
		v := full()
		change(&v)
		if sum.Of(v) == base {
			t.Errorf("%s: the sum did not change", name)
		}
	}
	v := full()
	v.Ptr.N = 9
	if without := reflect.TypeFor[leaf](); sum.Of(v, without) != sum.Of(full(), without) {
		t.Error("a type that is left out changes the sum")
	}
	if sum.Join(1, 2) == sum.Join(2, 1) || sum.Join(1) == sum.Join(1, 0) {
		t.Error("joined sums do not tell order or number")
	}
}
