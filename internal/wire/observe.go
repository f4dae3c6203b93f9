package wire

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// The service by which proxies report what they have seen, and are asked for live
// requests. It is served where ADS is. Its one method is a stream of messages in both
// directions, each a google.protobuf.Any: a reader skips types that it does not
// know. A control plane without the service answers Unimplemented, and the proxy
// goes on without.
const (
	ObserveService = "lateen.wire.v1.Observer"
	ObserveStream  = "Observe"
	ObserveMethod  = "/" + ObserveService + "/" + ObserveStream
)

// Types of the messages. A proxy sends HelloType first; then, whenever it likes,
// ReportType and TappedType. The control plane sends TapType and UntapType.
const (
	HelloType  = "type.googleapis.com/lateen.wire.v1.Hello"
	ReportType = "type.googleapis.com/lateen.wire.v1.Report"
	TapType    = "type.googleapis.com/lateen.wire.v1.Tap"
	UntapType  = "type.googleapis.com/lateen.wire.v1.Untap"
	TappedType = "type.googleapis.com/lateen.wire.v1.Tapped"
)

// Hello says who reports.
type Hello struct {
	Proxy   string // INSTANCE.NAMESPACE
	Version string // of the proxy
}

const (
	helloProxy   protowire.Number = 1
	helloVersion protowire.Number = 2
)

// Marshal gives the wire form.
func (h Hello) Marshal() []byte {
	return appendString(appendString(nil, helloProxy, h.Proxy), helloVersion, h.Version)
}

// UnmarshalHello reads the wire form.
func UnmarshalHello(b []byte) (h Hello, err error) {
	err = fields(b, func(n protowire.Number, v []byte) error {
		switch n {
		case helloProxy:
			h.Proxy = string(v)
		case helloVersion:
			h.Version = string(v)
		}
		return nil
	})
	if err == nil && h.Proxy == "" {
		err = errors.New("the proxy has no name")
	}
	if err != nil {
		return Hello{}, fmt.Errorf("hello: %w", err)
	}
	return h, nil
}

// Columns are what is counted for one set of labels. A number, once used, keeps its
// meaning; readers skip those that they do not know. All are counters in whole
// numbers.
const (
	Requests         = 0
	DurationMicros   = 1 // sum over requests, in microseconds
	RequestBytes     = 2 // of bodies
	ResponseBytes    = 3
	RequestMessages  = 4 // of gRPC calls
	ResponseMessages = 5
	TCPSent          = 6 // to clients
	TCPReceived      = 7 // from clients
	TCPOpened        = 8
	TCPClosed        = 9

	// The histograms: for each bound the number of requests above the one before and
	// at most this, and at last those above all.
	DurationBuckets      = 32
	RequestBytesBuckets  = 64
	ResponseBytesBuckets = 96

	MaxColumn = 127
)

// Bounds are the upper bounds of the histograms' buckets: milliseconds, bytes. They
// are those of Envoy's histograms.
func Bounds() []float64 {
	return []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000}
}

// Label is a label of Istio's standard metrics with its value.
type Label struct{ Name, Value string }

// Cell is a column that grew.
type Cell struct {
	Column int
	Delta  uint64
}

// Row says by how much the counters of one set of labels grew since the proxy's
// report before.
type Row struct {
	// Set names the labels within the stream. Labels are given with the set's first
	// row in a stream, and may be left out later.
	Set    uint64
	Labels []Label
	Cells  []Cell // in the order of columns
}

// Report is a part of what a proxy has counted since its last one.
type Report struct{ Rows []Row }

const (
	reportRow protowire.Number = 1

	rowSet   protowire.Number = 1 // varint in bytes
	rowLabel protowire.Number = 2
	rowValue protowire.Number = 3 // follows its label
	rowCells protowire.Number = 4 // pairs of column and delta, packed
)

// The bounds of a report.
const (
	MaxReport = 1 << 20 // bytes; a proxy with more to say sends several
	maxLabels = 64
	maxLabel  = 1 << 10 // bytes of a name or value
)

// Marshal gives the wire form.
func (r Report) Marshal() []byte {
	var out []byte
	for i := range r.Rows {
		out = appendBytes(out, reportRow, r.Rows[i].marshal())
	}
	return out
}

func (r *Row) marshal() []byte {
	out := appendBytes(nil, rowSet, protowire.AppendVarint(nil, r.Set))
	for _, l := range r.Labels {
		out = appendString(appendString(out, rowLabel, clip(l.Name)), rowValue, clip(l.Value))
	}
	var cells []byte
	for _, c := range r.Cells {
		cells = protowire.AppendVarint(protowire.AppendVarint(cells, uint64(c.Column)), c.Delta)
	}
	return appendBytes(out, rowCells, cells)
}

// clip keeps a label within what a reader takes.
func clip(s string) string { return s[:min(len(s), maxLabel)] }

// Size is about what the wire form of a row takes.
func (r *Row) Size() int {
	n := 16 + 8*len(r.Cells)
	for _, l := range r.Labels {
		n += len(l.Name) + len(l.Value) + 6
	}
	return n
}

// UnmarshalReport reads the wire form.
func UnmarshalReport(b []byte) (Report, error) {
	var r Report
	if len(b) > 2*MaxReport {
		return r, fmt.Errorf("report: %d bytes", len(b))
	}
	err := fields(b, func(n protowire.Number, v []byte) error {
		if n != reportRow {
			return nil
		}
		row, err := unmarshalRow(v)
		if err == nil {
			r.Rows = append(r.Rows, row)
		}
		return err
	})
	if err != nil {
		return Report{}, fmt.Errorf("report: %w", err)
	}
	return r, nil
}

func unmarshalRow(b []byte) (r Row, err error) {
	err = fields(b, func(n protowire.Number, v []byte) error {
		switch n {
		case rowSet:
			id, size := protowire.ConsumeVarint(v)
			if size < 0 {
				return protowire.ParseError(size)
			}
			r.Set = id
		case rowLabel, rowValue:
			return r.label(n, v)
		case rowCells:
			return r.cells(v)
		}
		return nil
	})
	return r, err
}

func (r *Row) label(n protowire.Number, v []byte) error {
	switch {
	case len(v) > maxLabel:
		return fmt.Errorf("a label of %d bytes", len(v))
	case n == rowValue && len(r.Labels) == 0:
		return errors.New("a value without a label")
	case n == rowValue:
		r.Labels[len(r.Labels)-1].Value = string(v)
	case len(r.Labels) >= maxLabels:
		return errors.New("too many labels")
	default:
		r.Labels = append(r.Labels, Label{Name: string(v)})
	}
	return nil
}

func (r *Row) cells(b []byte) error {
	last := -1
	for len(b) > 0 {
		column, size := protowire.ConsumeVarint(b)
		if size < 0 {
			return protowire.ParseError(size)
		}
		delta, more := protowire.ConsumeVarint(b[size:])
		if more < 0 {
			return protowire.ParseError(more)
		}
		b = b[size+more:]
		if column > MaxColumn {
			continue // of a newer proxy
		}
		if int(column) <= last {
			return errors.New("columns out of order")
		}
		last = int(column)
		r.Cells = append(r.Cells, Cell{last, delta})
	}
	return nil
}
