package stream

import (
	"bytes"
	"iter"
)

// Name is a header field name, interned so that look-ups compare an integer or
// a few bytes. Make Names when configuration is built, not while serving.
type Name struct {
	lower string
	id    uint16 // index in the known table, 0 for other names
}

// String gives the lower-case name.
func (n Name) String() string { return n.lower }

// field is one header line: offsets into the Head's arena.
type field struct {
	name, value uint32 // offsets
	nameLen     uint16
	id          uint16 // known name, 0 for others
	valueLen    uint32
}

// Head is a header section in wire order: a byte arena, and fields that are
// offsets into it. Names keep the case they arrived with; look-ups ignore it.
// There are no maps and no strings, so that a Head is reused without garbage.
// The zero Head is empty and ready.
type Head struct {
	arena  []byte
	fields []field
}

// Reset empties the head and keeps its memory.
func (h *Head) Reset() { h.arena, h.fields = h.arena[:0], h.fields[:0] }

// Len is the number of fields.
func (h *Head) Len() int { return len(h.fields) }

func (h *Head) nameAt(f *field) []byte  { return h.arena[f.name : f.name+uint32(f.nameLen)] }
func (h *Head) valueAt(f *field) []byte { return h.arena[f.value : f.value+f.valueLen] }

func (h *Head) is(f *field, n Name) bool {
	if f.id != 0 || n.id != 0 {
		return f.id == n.id
	}
	return int(f.nameLen) == len(n.lower) && equalFold(h.nameAt(f), n.lower)
}

// Get returns the first value of the field, nil if it is absent and a non-nil
// empty slice if it is there without a value.
func (h *Head) Get(n Name) []byte {
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
	f := field{id: n.id}
	f.name, f.nameLen = h.put(n.lower)
	f.value, f.valueLen = uint32(len(h.arena)), uint32(len(value))
	h.arena = append(h.arena, value...)
	h.fields = append(h.fields, f)
}

// AddRaw appends a field with the name's case as given (a codec's parser, or a
// copy from another head).
func (h *Head) AddRaw(name, value []byte) {
	f := field{id: knownID(name), nameLen: uint16(len(name)), valueLen: uint32(len(value))}
	f.name = uint32(len(h.arena))
	h.arena = append(h.arena, name...)
	f.value = uint32(len(h.arena))
	h.arena = append(h.arena, value...)
	h.fields = append(h.fields, f)
}

// Set replaces the first field of that name in place, keeping its position and
// case, and removes the others; it appends where there is none.
func (h *Head) Set(n Name, value []byte) {
	for i := range h.fields {
		f := &h.fields[i]
		if !h.is(f, n) {
			continue
		}
		off := uint32(len(h.arena))
		h.arena = append(h.arena, value...)
		f.value, f.valueLen = off, uint32(len(value))
		h.delFrom(i+1, n)
		return
	}
	h.Add(n, value)
}

// AddString and SetString are Add and Set for a string.
func (h *Head) AddString(n Name, value string) { h.Add(n, []byte(value)) }

// SetString is Set for a string.
func (h *Head) SetString(n Name, value string) { h.Set(n, []byte(value)) }

// Del removes every field of that name and reports whether there was one.
func (h *Head) Del(n Name) bool { return h.delFrom(0, n) }

func (h *Head) delFrom(from int, n Name) bool {
	kept := h.fields[:from]
	for i := from; i < len(h.fields); i++ {
		if f := h.fields[i]; !h.is(&f, n) {
			kept = append(kept, f)
		}
	}
	gone := len(kept) != len(h.fields)
	h.fields = kept
	return gone
}

// CopyFrom makes h an independent copy of o.
func (h *Head) CopyFrom(o *Head) {
	h.arena = append(h.arena[:0], o.arena...)
	h.fields = append(h.fields[:0], o.fields...)
}

func (h *Head) put(s string) (off uint32, n uint16) {
	off = uint32(len(h.arena))
	h.arena = append(h.arena, s...)
	return off, uint16(len(s))
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
	return len(a) == len(b) && bytes.EqualFold(a, []byte(b))
}
