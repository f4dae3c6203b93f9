package compile_test

import (
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/compile"
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/istioapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/xds/build"
)

// hostileStrings are put into every string of every object in turn.
var hostileStrings = []string{
	"", " ", "a b", "a\nb", "a\x00b", "%", "100%", "%FOO%", "%REQ(a", "%REQ(:authority)%", "*", "a.*.b", "*a", "a*", "host:80", ":path", ":status", "host", "Host", "[", "(", "\\1",
	"é", strings.Repeat("x", 300), "a/b", "../..", "-", ".", "http://a", "A.EXAMPLE", "connection", "x-envoy-upstream-alt-stat-name", "0",
}

// TestHostileValues: no value of a field that decodes may make a resource that a
// data plane refuses, or a verdict without words. It tries a fixed share of all
// values against the native proxy's parser; with LATEEN_DEEP set all of them, and
// a share against a real Envoy (LATEEN_TEST_ENVOY) too.
func TestHostileValues(t *testing.T) {
	base := withBase(t, map[string]string{})
	services, err := api.Decode(strings.NewReader(base["services.yaml"]), "base")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../istioapi/testdata/every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	every, err := api.Decode(strings.NewReader(string(text)), "every-field.yaml")
	if err != nil {
		t.Fatal(err)
	}
	workloads := readWorkloads(t, base["workloads.yaml"])
	tried, known := 0, map[uint64]bool{}
	deep, share := os.Getenv("LATEEN_DEEP") != "", 11 // no divisor of the values of one type
	if deep {
		share = 1
	}
	for i, o := range every {
		eachHostile(o.Spec.(proto.Message), func(what string, spec proto.Message) {
			changed := *o
			changed.Spec = spec
			objs := append(services[:len(services):len(services)], every...)
			objs[len(services)+i] = &changed
			tried++
			if tried%share == 0 {
				tryHostile(t, what, objs, workloads, known, deep && tried%envoyShare == 0)
			}
		})
	}
	if tried < 1000 {
		t.Errorf("only %d values tried", tried)
	}
}

// envoyShare says which of the values a real Envoy checks.
const envoyShare = 37

func tryHostile(t *testing.T, what string, objs []*api.Object, workloads []registry.Workload, known map[uint64]bool, withEnvoy bool) {
	t.Helper()
	cfg, said := istioapi.Read(objs)
	vips := registry.Allocate(nil, netip.MustParsePrefix("10.96.0.0/16"), cfg.Services)
	snap, more := mesh.Build(cfg, mesh.Inputs{Workloads: workloads, VIPs: vips})
	checkStatuses(t, append(said, more...))
	for _, cn := range []caseNode{{Workload: "productpage-v1-0"}, {Workload: "gateway-0", Kind: "router"}} {
		p, _ := compile.Proxy(snap, nodeOf(t, cn, workloads), nil)
		set, err := build.Resources(p)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		acceptableBut(t, &pipeline{proxy: p, set: set}, known)
		if withEnvoy {
			envoyTakes(t, what, p)
		}
		if t.Failed() {
			t.Fatalf("with %s", what)
		}
	}
}

func envoyTakes(t *testing.T, what string, p *ir.Proxy) {
	t.Helper()
	envoy := os.Getenv("LATEEN_TEST_ENVOY")
	if _, err := os.Stat(envoy); envoy == "" || err != nil {
		return
	}
	c := *p
	c.DataPlane = ir.Envoy
	set, err := build.Resources(&c)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "bootstrap.json")
	writeFile(t, config, bootstrap(t, set))
	if out, err := exec.Command(envoy, "--mode", "validate", "-c", config, "--log-level", "error", "--disable-hot-restart").CombinedOutput(); err != nil {
		t.Errorf("Envoy refuses %s: %v\n%s", what, err, out)
	}
}

// eachHostile calls f with a copy of m for each scalar in it and each odd value.
func eachHostile(m proto.Message, f func(what string, changed proto.Message)) {
	for n := 0; ; n++ {
		for v := 0; ; v++ {
			c := proto.Clone(m)
			count := n
			what, done, last := setNth(c.ProtoReflect(), &count, v)
			if !done {
				return
			}
			if last {
				break
			}
			f(what, c)
		}
	}
}

// setNth sets the n-th scalar of m, in depth-first order, to the v-th odd value of
// its type. last is true when there is no v-th value.
func setNth(m protoreflect.Message, n *int, v int) (what string, done, last bool) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		switch {
		case f.IsMap():
			what, done, last = setInMap(m, f, n, v)
		case f.IsList() && f.Message() != nil:
			for j := range m.Get(f).List().Len() {
				if what, done, last = setNth(m.Get(f).List().Get(j).Message(), n, v); done {
					return what, done, last
				}
			}
		case f.IsList():
			if what, done, last = pick(f, n, v, func(x protoreflect.Value) { m.Mutable(f).List().Set(0, x) }); done {
				return what, done, last
			}
		case f.Message() != nil:
			what, done, last = setNth(m.Mutable(f).Message(), n, v)
		default:
			what, done, last = pick(f, n, v, func(x protoreflect.Value) { m.Set(f, x) })
		}
		if done {
			return what, done, last
		}
	}
	return "", false, false
}

func setInMap(m protoreflect.Message, f protoreflect.FieldDescriptor, n *int, v int) (what string, done, last bool) {
	entries := m.Mutable(f).Map()
	var first protoreflect.MapKey
	entries.Range(func(k protoreflect.MapKey, _ protoreflect.Value) bool {
		first = k
		return false // the example's maps have one entry
	})
	if f.MapKey().Kind() == protoreflect.StringKind {
		value := entries.Get(first)
		what, done, last = pick(f.MapKey(), n, v, func(x protoreflect.Value) {
			entries.Clear(first)
			entries.Set(x.MapKey(), value)
		})
		if done {
			return f.JSONName() + " " + what, done, last
		}
	}
	if f.MapValue().Message() != nil {
		return setNth(entries.Get(first).Message(), n, v)
	}
	return pick(f.MapValue(), n, v, func(x protoreflect.Value) { entries.Set(first, x) })
}

// pick sets one scalar when its turn has come.
func pick(f protoreflect.FieldDescriptor, n *int, v int, set func(protoreflect.Value)) (what string, done, last bool) {
	if *n > 0 {
		*n--
		return "", false, false
	}
	values := oddValues(f)
	if v >= len(values) {
		return "", true, true
	}
	set(values[v])
	return fmt.Sprintf("%s = %.40q", f.FullName(), values[v].String()), true, false
}

func oddValues(f protoreflect.FieldDescriptor) []protoreflect.Value {
	var out []protoreflect.Value
	switch f.Kind() {
	case protoreflect.StringKind:
		for _, s := range hostileStrings {
			out = append(out, protoreflect.ValueOfString(s))
		}
	case protoreflect.Int32Kind:
		for _, n := range []int32{math.MinInt32, -1, 0, 1, 70000, math.MaxInt32} {
			out = append(out, protoreflect.ValueOfInt32(n))
		}
	case protoreflect.Uint32Kind:
		for _, n := range []uint32{0, 1, 70000, math.MaxUint32} {
			out = append(out, protoreflect.ValueOfUint32(n))
		}
	case protoreflect.Int64Kind: // the seconds of durations
		for _, n := range []int64{-1, 0, 1, 1 << 32, 315576000000} {
			out = append(out, protoreflect.ValueOfInt64(n))
		}
	case protoreflect.DoubleKind:
		for _, x := range []float64{-1, 0, 0.00001, 100, 101, math.NaN(), math.Inf(1)} {
			out = append(out, protoreflect.ValueOfFloat64(x))
		}
	case protoreflect.EnumKind:
		for i := range f.Enum().Values().Len() {
			out = append(out, protoreflect.ValueOfEnum(f.Enum().Values().Get(i).Number()))
		}
		out = append(out, protoreflect.ValueOfEnum(99))
	}
	return out
}
