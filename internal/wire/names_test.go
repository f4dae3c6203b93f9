package wire

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
)

var addrs = cmp.Comparer(func(a, b netip.Addr) bool { return a == b })

func sample() NameTable {
	return NameTable{
		"httpbin.org":                       {Addrs: []netip.Addr{netip.MustParseAddr("240.240.0.1"), netip.MustParseAddr("2001:2::1")}, Registry: External},
		"*.example.com":                     {Registry: External},
		"reviews.default.svc.cluster.local": {Addrs: []netip.Addr{netip.MustParseAddr("10.96.0.7")}, Registry: Kubernetes, ShortName: "reviews", Namespace: "default"},
	}
}

func TestNameTableRoundTrip(t *testing.T) {
	first := MarshalNameTable(sample())
	if second := MarshalNameTable(sample()); !bytes.Equal(first, second) {
		t.Errorf("equal tables give different bytes:\n%x\n%x", first, second)
	}
	got, err := UnmarshalNameTable(first)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(), got, addrs); d != "" {
		t.Error(d)
	}
}

// TestNameTableBytes pins the bytes: other versions of proxies read them.
func TestNameTableBytes(t *testing.T) {
	table := NameTable{"a.b": {Addrs: []netip.Addr{netip.MustParseAddr("1.2.3.4")}, Registry: "R", ShortName: "a", Namespace: "b"}}
	const want = "0a190a03612e6212120a07312e322e332e34120152" + "1a01612201" + "62"
	if got := hex.EncodeToString(MarshalNameTable(table)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestNameTableOfAnotherVersion(t *testing.T) {
	info := appendString(nil, infoIPs, "10.0.0.1")
	info = protowire.AppendVarint(protowire.AppendTag(info, 77, protowire.VarintType), 5) // a field of the future
	info = appendString(info, 5, "alt.host")                                              // one that Istio had
	entry := appendBytes(appendString(nil, entryKey, "x.y"), entryValue, info)
	b := appendBytes(nil, tableEntries, entry)
	b = protowire.AppendFixed64(protowire.AppendTag(b, 9, protowire.Fixed64Type), 1)
	got, err := UnmarshalNameTable(b)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(NameTable{"x.y": {Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}}, got, addrs); d != "" {
		t.Error(d)
	}
}

func TestNameTableErrors(t *testing.T) {
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{
		"cut":     {MarshalNameTable(sample())[:9], "unexpected EOF"},
		"address": {MarshalNameTable(nil), ""},
		"no IP":   {appendBytes(nil, tableEntries, appendBytes(appendString(nil, entryKey, "x"), entryValue, appendString(nil, infoIPs, "no"))), `name table: "x": ParseAddr("no")`},
		"no name": {appendBytes(nil, tableEntries, nil), "an entry has no name"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := UnmarshalNameTable(c.in)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzNameTable(f *testing.F) {
	f.Add(MarshalNameTable(sample()))
	f.Add([]byte{0x0a, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := UnmarshalNameTable(b)
		if err != nil {
			return
		}
		second, err := UnmarshalNameTable(MarshalNameTable(first))
		if err != nil {
			t.Fatalf("what was read does not read again: %v", err)
		}
		if d := cmp.Diff(first, second, addrs); d != "" {
			t.Error(d)
		}
	})
}

func BenchmarkMarshalNameTable(b *testing.B) {
	table := NameTable{}
	for i := range 1000 {
		a := netip.AddrFrom4([4]byte{240, 240, byte(i >> 8), byte(i)})
		table["service-"+a.String()+".example.com"] = Name{Addrs: []netip.Addr{a}, Registry: External}
	}
	b.ReportAllocs()
	for b.Loop() {
		MarshalNameTable(table)
	}
}
