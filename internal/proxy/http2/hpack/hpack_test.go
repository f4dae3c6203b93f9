package hpack

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	xhpack "golang.org/x/net/http2/hpack"
)

type collect struct{ fields [][2]string }

func (c *collect) Field(n, v []byte) { c.fields = append(c.fields, [2]string{string(n), string(v)}) }

func random(r *rand.Rand) [][2]string {
	var fields [][2]string
	for range r.IntN(12) {
		name := fmt.Sprintf("x-%d", r.IntN(20))
		if r.IntN(3) == 0 {
			name = string(staticTable[r.IntN(61)].name)
		}
		value := fmt.Sprint(r.IntN(10))
		switch r.IntN(8) {
		case 0:
			value = strings.Repeat("v", r.IntN(5000))
		case 1:
			value = string(staticTable[r.IntN(61)].value)
		}
		fields = append(fields, [2]string{name, value})
	}
	return fields
}

// The foreign decoder understands what the encoder writes, sizes changing too.
func TestEncoderAgainstForeign(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var e Encoder
	var got [][2]string
	d := xhpack.NewDecoder(4096, func(f xhpack.HeaderField) { got = append(got, [2]string{f.Name, f.Value}) })
	for i := range 3000 {
		if r.IntN(20) == 0 {
			for range r.IntN(3) {
				e.SetLimit(uint32(r.IntN(6000)))
			}
		}
		want := random(r)
		block := e.Begin(nil)
		for _, f := range want {
			block = e.Append(block, []byte(f[0]), []byte(f[1]), r.IntN(10) == 0)
		}
		got = nil
		if _, err := d.Write(block); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("block %d: got %v, want %v", i, got, want)
		}
	}
}

// The decoder understands what the foreign encoder writes.
func TestDecoderAgainstForeign(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	var buf bytes.Buffer
	e := xhpack.NewEncoder(&buf)
	var d Decoder
	for i := range 3000 {
		if r.IntN(20) == 0 {
			e.SetMaxDynamicTableSize(uint32(r.IntN(4097)))
		}
		want := random(r)
		buf.Reset()
		for _, f := range want {
			if err := e.WriteField(xhpack.HeaderField{Name: f[0], Value: f[1], Sensitive: r.IntN(10) == 0}); err != nil {
				t.Fatal(err)
			}
		}
		var got collect
		if err := d.Decode(buf.Bytes(), &got); err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		if fmt.Sprint(got.fields) != fmt.Sprint(want) {
			t.Fatalf("block %d: got %v, want %v", i, got.fields, want)
		}
	}
}

func TestDecodeErrors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		block string
		want  error
	}{
		{"index 0", "\x80", ErrIndex},
		{"index beyond the tables", "\xbe", ErrIndex},
		{"name index beyond the tables", "\x7f\x00\x01a", ErrIndex},
		{"integer cut", "\xff", ErrTruncated},
		{"integer too large", "\xff\xff\xff\xff\xff\xff\x01", ErrInteger},
		{"string cut", "\x00\x03ab", ErrTruncated},
		{"value missing", "\x00\x01a", ErrTruncated},
		{"Huffman with EOS", "\x00\x84\xff\xff\xff\xff\x01a", ErrHuffman},
		{"Huffman padding too long", "\x00\x82\x1f\xff\x01a", ErrHuffman},
		{"update too large", "\x3f\xe2\x1f", ErrTableSize},
		{"update after a field", "\x82\x20", ErrTableSize},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var d Decoder
			if err := d.Decode([]byte(tt.block), &collect{}); err != tt.want {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// FuzzDecode: whatever the foreign decoder makes of a block, ours makes the same.
func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff"), []byte("\xbe\x40\x01a\x01b"))
	f.Fuzz(func(t *testing.T, one, two []byte) {
		var want [][2]string
		foreign := xhpack.NewDecoder(4096, func(f xhpack.HeaderField) { want = append(want, [2]string{f.Name, f.Value}) })
		var d Decoder
		for _, p := range [][]byte{one, two} {
			want = nil
			_, ferr := foreign.Write(p)
			if ferr == nil {
				ferr = foreign.Close()
			}
			var got collect
			err := d.Decode(p, &got)
			if (err == nil) != (ferr == nil) {
				if err == ErrInteger || err == ErrTableSize {
					return // stricter: padded integers, updates of no effect
				}
				if ferr != nil && strings.Contains(ferr.Error(), "size update MUST") {
					return // it takes one update only, where RFC 7541 §4.2 allows two
				}
				t.Fatalf("%v, foreign %v", err, ferr)
			}
			if err != nil {
				return
			}
			if fmt.Sprint(got.fields) != fmt.Sprint(want) {
				t.Fatalf("%q, foreign %q", got.fields, want)
			}
		}
	})
}

func BenchmarkRoundTrip(b *testing.B) {
	fields := [][2]string{
		{":method", "POST"}, {":scheme", "http"}, {":authority", "reviews:9080"}, {":path", "/reviews/0"}, {"content-type", "application/grpc"},
		{"user-agent", "grpc-go/1.80"}, {"te", "trailers"}, {"x-request-id", "01234567-89ab-cdef-0123-456789abcdef"},
	}
	var e Encoder
	var d Decoder
	var block []byte
	sink := discard{}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		block = e.Begin(block[:0])
		for _, f := range fields {
			n, v := []byte(f[0]), []byte(f[1])
			if f[0] == "x-request-id" {
				v[0], v[1], v[2] = 'a'+byte(i%23), 'a'+byte(i/23%23), 'a'+byte(i/529%23)
			}
			block = e.Append(block, n, v, false)
		}
		if err := d.Decode(block, sink); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) Field(_, _ []byte) {}
