package wire

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
)

var counted = Report{Rows: []Row{
	{Set: 1, Labels: []Label{{"reporter", "source"}, {"source_workload", "productpage-v1"}, {"empty", ""}}, Cells: []Cell{{Requests, 3}, {DurationMicros, 12345}, {DurationBuckets + 4, 3}}},
	{Set: 300, Cells: []Cell{{TCPSent, 1 << 40}}},
}}

func TestReport(t *testing.T) {
	got, err := UnmarshalReport(counted.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(counted, got); diff != "" {
		t.Error(diff)
	}
	hello := Hello{"reviews-v1-0.default", "1.0"}
	if h, err := UnmarshalHello(hello.Marshal()); err != nil || h != hello {
		t.Errorf("%+v %v", h, err)
	}
	if _, err := UnmarshalHello(nil); err == nil {
		t.Error("a proxy without a name is taken")
	}
	if n := len(Bounds()); n >= 31 {
		t.Errorf("%d bounds run into the next histogram's columns", n)
	}
}

// TestReportOfNewer: what a version that is one ahead adds is skipped.
func TestReportOfNewer(t *testing.T) {
	row := counted.Rows[0]
	row.Cells = append(row.Cells[:len(row.Cells):len(row.Cells)], Cell{MaxColumn + 5, 7})
	text := row.marshal()
	text = appendString(text, 99, "new")
	text = protowire.AppendVarint(protowire.AppendTag(text, 98, protowire.VarintType), 5)
	b := appendBytes(nil, reportRow, text)
	b = appendString(b, 77, "also new")
	got, err := UnmarshalReport(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Report{Rows: counted.Rows[:1]}, got); diff != "" {
		t.Error(diff)
	}
}

func TestReportRefused(t *testing.T) {
	long := Row{Labels: []Label{{"a", strings.Repeat("x", 5000)}}}
	got, err := UnmarshalReport(Report{Rows: []Row{long}}.Marshal())
	if err != nil || len(got.Rows[0].Labels[0].Value) != maxLabel {
		t.Errorf("a long label is not clipped: %v", err)
	}
	for name, b := range map[string][]byte{
		"cut off":        counted.Marshal()[:20],
		"out of order":   appendBytes(nil, reportRow, appendBytes(nil, rowCells, []byte{3, 1, 2, 1})),
		"half a cell":    appendBytes(nil, reportRow, appendBytes(nil, rowCells, []byte{3})),
		"lonely value":   appendBytes(nil, reportRow, appendString(nil, rowValue, "x")),
		"too long label": appendBytes(nil, reportRow, appendString(nil, rowLabel, strings.Repeat("x", maxLabel+1))),
		"empty set":      appendBytes(nil, reportRow, appendBytes(nil, rowSet, nil)),
	} {
		if _, err := UnmarshalReport(b); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func FuzzReport(f *testing.F) {
	f.Add(counted.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := UnmarshalReport(b)
		if err != nil {
			return
		}
		again, err := UnmarshalReport(r.Marshal())
		if err != nil || !cmp.Equal(r, again) {
			t.Errorf("%v: %s", err, cmp.Diff(r, again))
		}
	})
}
