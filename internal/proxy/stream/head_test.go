package stream

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// line is a field of the model: a Head as a plain list of strings.
type line struct{ Name, Value, Raw string }

type model []line

func (m model) first(name string) int {
	for i, l := range m {
		if strings.EqualFold(l.Name, name) {
			return i
		}
	}
	return -1
}

func (m *model) add(name, value string) {
	*m = append(*m, line{name, value, name + ": " + value + "\r\n"})
}

func (m *model) del(name string, from int) bool {
	var kept model
	for i, l := range *m {
		if i < from || !strings.EqualFold(l.Name, name) {
			kept = append(kept, l)
		}
	}
	gone := len(kept) != len(*m)
	*m = kept
	return gone
}

func (m *model) set(name, value string) {
	i := m.first(name)
	if i < 0 {
		m.add(name, value)
		return
	}
	(*m)[i] = line{(*m)[i].Name, value, (*m)[i].Name + ": " + value + "\r\n"}
	m.del(name, i+1)
}

// load fills head and model with the same parsed section.
func load(h *Head, m *model, rnd *rand.Rand) {
	*m = nil
	var raw []byte
	type at struct{ name, nameEnd, value, valueEnd, end int }
	var ats []at
	for range rnd.IntN(8) {
		name := pick(rnd)
		if rnd.IntN(2) == 0 {
			name = strings.ToUpper(name)
		}
		value := fmt.Sprint("v", rnd.IntN(100))
		l := name + strings.Repeat(" ", 0) + ":" + strings.Repeat(" ", rnd.IntN(3)) + value + strings.Repeat("\t", rnd.IntN(2)) + "\r\n"
		v := len(raw) + strings.Index(l, value)
		ats = append(ats, at{len(raw), len(raw) + len(name), v, v + len(value), len(raw) + len(l)})
		raw = append(raw, l...)
		*m = append(*m, line{name, value, l})
	}
	h.Load(raw)
	for _, a := range ats {
		h.AddLine(a.name, a.nameEnd, a.value, a.valueEnd, a.end)
	}
}

func pick(rnd *rand.Rand) string {
	names := []string{"host", "x-one", "x-two", "cookie", "x-request-id", "content-length", "a"}
	return names[rnd.IntN(len(names))]
}

// Any sequence of edits gives what the model gives: fields, look-ups and bytes.
func TestHeadAgainstModel(t *testing.T) {
	var h Head
	for seed := range uint64(2000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var m model
		load(&h, &m, rnd)
		var log []string
		for range rnd.IntN(12) {
			name, value := pick(rnd), fmt.Sprint("n", rnd.IntN(100))
			n := N(name)
			op := rnd.IntN(7)
			log = append(log, fmt.Sprint(op, " ", name, " ", value))
			switch op {
			case 0:
				h.AddString(n, value)
				m.add(name, value)
			case 1:
				h.Set(n, []byte(value))
				m.set(name, value)
			case 2:
				if got, want := h.Del(n), m.del(name, 0); got != want {
					t.Fatalf("seed %d %v: Del = %v", seed, log, got)
				}
			case 3:
				h.AddRaw([]byte(strings.ToUpper(name)), []byte(value))
				m.add(strings.ToUpper(name), value)
			case 4: // the value comes from the head itself
				if v := h.Get(n); v != nil {
					m.set("x-two", string(v))
					h.Set(N("x-two"), v)
				}
			case 5:
				h.SetInt(n, int64(len(value)))
				m.set(name, fmt.Sprint(len(value)))
			case 6:
				var c Head
				c.CopyFrom(&h)
				h.Reset()
				h.CopyFrom(&c)
			}
		}
		check(t, &h, m, fmt.Sprint("seed ", seed, " ", log))
	}
}

func check(t *testing.T, h *Head, m model, what string) {
	t.Helper()
	var got model
	for n, v := range h.All() {
		got = append(got, line{Name: string(n), Value: string(v)})
	}
	var want model
	var raw string
	for _, l := range m {
		want = append(want, line{Name: l.Name, Value: l.Value})
		raw += l.Raw
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s: fields (-want +got):\n%s", what, d)
	}
	if b := string(h.AppendTo(nil)); b != raw {
		t.Fatalf("%s: written as %q, want %q", what, b, raw)
	}
	if h.Size() != len(raw) || h.Len() != len(m) {
		t.Fatalf("%s: Size %d, Len %d", what, h.Size(), h.Len())
	}
	for _, name := range []string{"host", "x-one", "X-TWO", "cookie", "none", "via"} {
		i, v := m.first(name), h.Get(N(name))
		if (i >= 0) != (v != nil) || i >= 0 && string(v) != m[i].Value || h.Has(N(name)) != (i >= 0) {
			t.Fatalf("%s: Get(%s) = %q", what, name, v)
		}
		n := 0
		for range h.Values(N(name)) {
			n++
		}
		for _, l := range m {
			if strings.EqualFold(l.Name, name) {
				n--
			}
		}
		if n != 0 {
			t.Fatalf("%s: Values(%s) differ by %d", what, name, n)
		}
	}
}

func TestHeadEmptyValue(t *testing.T) {
	var h Head
	h.AddString(Host, "")
	if v := h.Get(Host); v == nil || len(v) != 0 {
		t.Errorf("Get = %#v", v)
	}
}

// A view that is appended to must not reach the next line.
func TestHeadViewsAreCapped(t *testing.T) {
	var h Head
	h.AddString(N("a"), "1")
	h.AddString(N("b"), "2")
	_ = append(h.Get(N("a")), "overwritten"...)
	if got := string(h.AppendTo(nil)); got != "a: 1\r\nb: 2\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestNames(t *testing.T) {
	for _, n := range []Name{Host, ContentLength, EnvoyPeerMetadataID, Via, TE} {
		if n.ID() == 0 || N(strings.ToUpper(n.String())) != n || KnownName([]byte(strings.ToUpper(n.String()))) != n {
			t.Errorf("%s is not found by its name", n)
		}
	}
	if n := N("X-Unknown"); n.ID() != 0 || n.String() != "x-unknown" || !n.Is(N("x-UNKNOWN")) {
		t.Errorf("unknown name: %+v", n)
	}
	if n := KnownName([]byte("hosT\x00")); n.ID() != 0 {
		t.Errorf("found %s", n)
	}
	// Letters only are folded: a byte that differs in the same bit is another name.
	if KnownName(bytes.ReplaceAll([]byte("x-envoy-peer-metadata"), []byte("-"), []byte("\r"))).ID() != 0 || EqualFold([]byte("@"), "`") || !EqualFold([]byte("ClosE"), "cLose") {
		t.Error("folding is not of letters alone")
	}
}

func BenchmarkHeadGet(b *testing.B) {
	var h Head
	for _, n := range []string{"Host", "User-Agent", "Accept", "Cookie", "X-A", "X-B", "X-C", "X-D", "end-user"} {
		h.AddRaw([]byte(n), []byte("value"))
	}
	user := N("end-user")
	b.ReportAllocs()
	for b.Loop() {
		if h.Get(user) == nil || h.Get(Authorization) != nil {
			b.Fatal("wrong")
		}
	}
}
