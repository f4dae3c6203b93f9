package stream

import (
	"iter"
	"strconv"
)

// Head is a header section in wire order: an arena of complete lines, and fields
// that are offsets into it. Names keep the case they arrived with; look-ups
// ignore it. There are no maps and no strings, so that a Head is reused without
// garbage. The zero Head is empty and ready.
//
// Every field is a whole line "name: value CRLF" in the arena: a parsed section
// is copied in once, and an edit appends a line. Unchanged runs are therefore
// written as they came, with one copy each.
type Head struct {
	arena  []byte
	fields []field
	// present has the bit of every known name that was added since Reset: most
	// look-ups are for names that are not there. Removing clears no bit.
	present uint64
}

// field is one line: offsets into the arena.
type field struct {
	name, nameLen   uint32
	value, valueLen uint32
	end             uint32 // after the line's CRLF
	id              uint16 // known name, 0 for others
}

// Reset empties the head and keeps its memory.
func (h *Head) Reset() { h.arena, h.fields, h.present = h.arena[:0], h.fields[:0], 0 }

// Len is the number of fields.
func (h *Head) Len() int { return len(h.fields) }

// At returns field i, in wire order.
func (h *Head) At(i int) (name, value []byte) {
	f := &h.fields[i]
	return h.nameAt(f), h.valueAt(f)
}

// Views are capped, so that appending to one cannot reach its neighbours.
func (h *Head) nameAt(f *field) []byte {
	return h.arena[f.name : f.name+f.nameLen : f.name+f.nameLen]
}

func (h *Head) valueAt(f *field) []byte {
	return h.arena[f.value : f.value+f.valueLen : f.value+f.valueLen]
}

func (h *Head) is(f *field, n Name) bool {
	if f.id != 0 || n.id != 0 {
		return f.id == n.id
	}
	return int(f.nameLen) == len(n.lower) && equalFold(h.nameAt(f), n.lower)
}

func bit(id uint16) uint64 {
	if id < 64 {
		return 1 << id
	}
	return 0
}

// absent reports cheaply that the name is not there; false means unknown.
func (h *Head) absent(n Name) bool {
	b := bit(n.id)
	return b > 1 && h.present&b == 0
}

// Get returns the first value of the field, nil if it is absent and a non-nil
// empty slice if it is there without a value.
func (h *Head) Get(n Name) []byte {
	if h.absent(n) {
		return nil
	}
	for i := range h.fields {
		if f := &h.fields[i]; h.is(f, n) {
			return h.valueAt(f)
		}
	}
	return nil
}

// Has reports whether the field is there.
func (h *Head) Has(n Name) bool { return h.Get(n) != nil }

// Values yields every value of the field, in order.
func (h *Head) Values(n Name) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for i := range h.fields {
			if f := &h.fields[i]; h.is(f, n) && !yield(h.valueAt(f)) {
				return
			}
		}
	}
}

// All yields every field in wire order, names in the case they were given.
func (h *Head) All() iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		for i := range h.fields {
			if f := &h.fields[i]; !yield(h.nameAt(f), h.valueAt(f)) {
				return
			}
		}
	}
}

// Add appends a field; its name is written as n gives it.
func (h *Head) Add(n Name, value []byte) {
	h.fields = append(h.fields, putLine(h, n.id, n.lower, value))
}

// AddString is Add for a string.
func (h *Head) AddString(n Name, value string) {
	h.fields = append(h.fields, putLine(h, n.id, n.lower, value))
}

// AddRaw appends a field with the name's case as given (a copy from another
// head, or a codec that decodes names).
func (h *Head) AddRaw(name, value []byte) {
	h.fields = append(h.fields, putLine(h, knownID(name), name, value))
}

// Set replaces the first field of that name in place, keeping its position and
// case, and removes the others; it appends where there is none.
//
// It is not inlined: in another package escape analysis does not see through the
// instance of set, and would move each caller's value to the heap.
//
//go:noinline
func (h *Head) Set(n Name, value []byte) { set(h, n, value) }

// SetString is Set for a string.
//
//go:noinline
func (h *Head) SetString(n Name, value string) { set(h, n, value) }

// SetInt is Set for a decimal number.
func (h *Head) SetInt(n Name, value int64) {
	start := len(h.arena)
	h.arena = strconv.AppendInt(h.arena, value, 10)
	h.Set(n, h.arena[start:])
}

func set[V string | []byte](h *Head, n Name, value V) {
	if !h.absent(n) {
		for i := range h.fields {
			if f := &h.fields[i]; h.is(f, n) {
				*f = putLine(h, f.id, h.nameAt(f), value)
				h.delFrom(i+1, n)
				return
			}
		}
	}
	h.fields = append(h.fields, putLine(h, n.id, n.lower, value))
}

// putLine appends a line to the arena. name and value may lie in the arena: when
// it moves, they still point to the old memory.
func putLine[N, V string | []byte](h *Head, id uint16, name N, value V) field {
	f := field{id: id, nameLen: uint32(len(name)), valueLen: uint32(len(value))}
	f.name = uint32(len(h.arena))
	h.arena = append(h.arena, name...)
	h.arena = append(h.arena, ": "...)
	f.value = uint32(len(h.arena))
	h.arena = append(h.arena, value...)
	h.arena = append(h.arena, "\r\n"...)
	f.end = uint32(len(h.arena))
	h.present |= bit(id)
	return f
}

// Del removes every field of that name and reports whether there was one.
func (h *Head) Del(n Name) bool { return !h.absent(n) && h.delFrom(0, n) }

func (h *Head) delFrom(from int, n Name) bool {
	i := from
	for ; i < len(h.fields); i++ {
		if h.is(&h.fields[i], n) {
			break
		}
	}
	if i == len(h.fields) {
		return false
	}
	kept := h.fields[:i]
	for i++; i < len(h.fields); i++ {
		if !h.is(&h.fields[i], n) {
			kept = append(kept, h.fields[i])
		}
	}
	h.fields = kept
	return true
}

// CopyFrom makes h an independent copy of o.
func (h *Head) CopyFrom(o *Head) {
	h.arena = append(h.arena[:0], o.arena...)
	h.fields = append(h.fields[:0], o.fields...)
	h.present = o.present
}

// AppendTo appends the section as HTTP/1.1 writes it, without the empty line that
// ends it. Lines that were parsed are byte for byte as they arrived.
func (h *Head) AppendTo(dst []byte) []byte {
	for i := 0; i < len(h.fields); {
		start, end := h.fields[i].name, h.fields[i].end
		for i++; i < len(h.fields) && h.fields[i].name == end; i++ {
			end = h.fields[i].end
		}
		dst = append(dst, h.arena[start:end]...)
	}
	return dst
}

// Size is the number of bytes that AppendTo appends.
func (h *Head) Size() int {
	n := 0
	for i := range h.fields {
		n += int(h.fields[i].end - h.fields[i].name)
	}
	return n
}

// Load begins a parsed section: it empties the head, copies raw (whole lines,
// each ended by CRLF) and returns the copy for the parser to read. Its fields are
// then added with AddLine.
func (h *Head) Load(raw []byte) []byte {
	h.Reset()
	h.arena = append(h.arena, raw...)
	return h.arena
}

// AddLine adds the field whose line begins at name and ends, CRLF included, at
// end: offsets into what Load returned. It returns the field's name if that is a
// known one.
func (h *Head) AddLine(name, nameEnd, value, valueEnd, end int) {
	h.AddKnownLine(KnownName(h.arena[name:nameEnd]), name, nameEnd, value, valueEnd, end)
}

// AddKnownLine is AddLine for a parser that looked the name up with KnownName.
func (h *Head) AddKnownLine(n Name, name, nameEnd, value, valueEnd, end int) {
	h.present |= bit(n.id)
	h.fields = append(h.fields, field{
		name: uint32(name), nameLen: uint32(nameEnd - name),
		value: uint32(value), valueLen: uint32(valueEnd - value),
		end: uint32(end), id: n.id,
	})
}

// equalFold compares a name of any case with a lower-case one, ASCII only.
func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// EqualFold reports whether a and b are the same name or token, ASCII case aside.
func EqualFold(a []byte, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if lowerByte(a[i]) != lowerByte(b[i]) {
			return false
		}
	}
	return true
}

func lowerByte(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}
