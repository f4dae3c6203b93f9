package history

import (
	"encoding/binary"

	"github.com/lateen-mesh/lateen/internal/wire"
)

// columns is the number of counters of a set.
const columns = wire.MaxColumn + 1

// Values are the counters of one set, by column.
type Values [columns]uint64

// Sub gives what grew since an earlier moment.
func (v *Values) Sub(earlier *Values) Values {
	var out Values
	for i := range v {
		if v[i] > earlier[i] {
			out[i] = v[i] - earlier[i]
		}
	}
	return out
}

// set is one set of labels and how its counters grew. Its fields are guarded by the
// Store's lock.
type set struct {
	labels  []wire.Label // immutable
	key     string
	blocks  []*block
	now     Values // as counted
	written Values // as of the last row
	grew    bool   // now is not written
}

// block is a part of a set's log.
type block struct {
	from, to int64  // the steps of its first and last row
	start    []byte // the values before its first row: pairs of column and value
	rows     []byte // for each row: steps since the row before, number of cells, cells
}

// blockBytes is when a block is full: about ten minutes of a busy set.
const blockBytes = 4 << 10

// overhead is what a set and a block take besides their texts.
const (
	setBytes      = 2*columns*8 + 256
	blockOverhead = 96
)

func (b *block) size() int64 { return int64(cap(b.start) + cap(b.rows) + blockOverhead) }

// write closes a step. It tells how much memory the set's log takes more.
func (s *set) write(step int64) int64 {
	var cells []byte
	n := 0
	for i, v := range s.now {
		if was := s.written[i]; v != was {
			cells = binary.AppendUvarint(binary.AppendUvarint(cells, uint64(i)), v-was)
			n++
		}
	}
	s.grew = false
	if n == 0 {
		return 0
	}
	var grown int64
	var last *block
	if len(s.blocks) > 0 {
		last = s.blocks[len(s.blocks)-1]
	}
	if last == nil || len(last.rows) >= blockBytes {
		if last != nil {
			grown -= last.size()
			last.rows = append(make([]byte, 0, len(last.rows)), last.rows...) // it grows no more
			grown += last.size()
		}
		last = &block{from: step, to: step, start: appendValues(nil, &s.written)}
		s.blocks = append(s.blocks, last)
		grown += last.size()
	}
	grown -= last.size()
	last.rows = binary.AppendUvarint(last.rows, uint64(step-last.to))
	last.rows = binary.AppendUvarint(last.rows, uint64(n))
	last.rows = append(last.rows, cells...)
	last.to = step
	s.written = s.now
	return grown + last.size()
}

func appendValues(b []byte, v *Values) []byte {
	for i, x := range v {
		if x != 0 {
			b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(i)), x)
		}
	}
	return b
}

// reader reads what appendValues and write have written; their form is never wrong.
type reader []byte

func (r *reader) next() uint64 {
	v, n := binary.Uvarint(*r)
	*r = (*r)[max(n, 0):]
	return v
}

func readValues(b []byte) (v Values) {
	for r := reader(b); len(r) > 0; {
		i := r.next()
		v[i%columns] = r.next()
	}
	return v
}

// each calls f with the values after every row, in order, until f returns false. The
// first call is with the values before the first row and the step before it. The
// values change between the calls.
func (s *set) each(from int64, f func(step int64, v *Values) bool) {
	i := 0
	for i+1 < len(s.blocks) && s.blocks[i+1].from <= from {
		i++
	}
	if i >= len(s.blocks) {
		return
	}
	v := readValues(s.blocks[i].start)
	if !f(s.blocks[i].from-1, &v) {
		return
	}
	for ; i < len(s.blocks); i++ {
		step := s.blocks[i].from
		for r := reader(s.blocks[i].rows); len(r) > 0; {
			step += int64(r.next())
			for range r.next() {
				c := r.next()
				v[c%columns] += r.next()
			}
			if !f(step, &v) {
				return
			}
		}
	}
}

// at gives the values at the end of a step; ok is false before the first that is
// known, and the values are then those before it.
func (s *set) at(step int64) (v Values, ok bool) {
	if len(s.blocks) == 0 || step >= s.blocks[len(s.blocks)-1].to {
		return s.written, len(s.blocks) > 0
	}
	first := true
	s.each(step, func(t int64, x *Values) bool {
		if first || t <= step {
			v, ok = *x, t <= step
		}
		first = false
		return t <= step
	})
	return v, ok
}
