package hpack

import "bytes"

// Encoder encodes header blocks of one connection, in order. The zero Encoder has
// the default table size.
//
// A field enters the dynamic table when it comes a second time: request ids, traces
// and lengths, which differ in every message, then never push out what repeats.
// Literals are not Huffman-coded: in a mesh CPU on both sides is dearer than a few
// bytes on the wire.
type Encoder struct {
	table   table
	ready   bool
	update  bool // the table's size changed since the last block
	emptied bool // and not only once
	seen    [64]uint32
}

// maxTable bounds our table whatever the peer allows.
const maxTable = DefaultTableSize

// SetLimit takes in the peer's SETTINGS_HEADER_TABLE_SIZE.
func (e *Encoder) SetLimit(n uint32) {
	e.init()
	n = min(n, maxTable)
	if n == e.table.max {
		return
	}
	e.table.resize(n)
	if e.update {
		// The smallest value has to be told too. Decoders exist that take a second
		// update only where the first has emptied the table.
		e.table.evict(e.table.size)
		e.emptied = true
	}
	e.update = true
}

func (e *Encoder) init() {
	if !e.ready {
		e.ready, e.table.max = true, DefaultTableSize
	}
}

// Begin starts a block: it appends what must come first.
func (e *Encoder) Begin(dst []byte) []byte {
	e.init()
	if !e.update {
		return dst
	}
	if e.emptied {
		dst = appendInt(dst, 0x20, 5, 0)
	}
	e.update, e.emptied = false, false
	return appendInt(dst, 0x20, 5, e.table.max)
}

// Append appends a field; the name is in lower case. never marks a secret that no
// table on the way may keep (RFC 7541 §7.1.3).
func (e *Encoder) Append(dst, name, value []byte, never bool) []byte {
	nameIndex, full := searchStatic(name, value)
	if full {
		return appendInt(dst, 0x80, 7, nameIndex)
	}
	if never {
		return appendLiteral(dst, 0x10, 4, nameIndex, name, value)
	}
	h := hash(name, value)
	for i := len(e.table.entries) - 1; i >= e.table.first; i-- {
		en := &e.table.entries[i]
		if en.hash != h {
			continue
		}
		if n, v := e.table.get(en); bytes.Equal(n, name) && bytes.Equal(v, value) {
			return appendInt(dst, 0x80, 7, uint32(len(staticTable)+len(e.table.entries)-i))
		}
	}
	if slot := &e.seen[h%uint32(len(e.seen))]; *slot != h {
		*slot = h
		return appendLiteral(dst, 0, 4, nameIndex, name, value)
	}
	dst = appendLiteral(dst, 0x40, 6, nameIndex, name, value)
	e.table.add(name, value, h)
	return dst
}

func appendLiteral(dst []byte, kind byte, bits uint8, nameIndex uint32, name, value []byte) []byte {
	dst = appendInt(dst, kind, bits, nameIndex)
	if nameIndex == 0 {
		dst = appendInt(dst, 0, 7, uint32(len(name)))
		dst = append(dst, name...)
	}
	dst = appendInt(dst, 0, 7, uint32(len(value)))
	return append(dst, value...)
}

// appendInt appends an integer with an n-bit prefix, in a byte that begins as kind.
func appendInt(dst []byte, kind byte, n uint8, v uint32) []byte {
	mask := uint32(1)<<n - 1
	if v < mask {
		return append(dst, kind|byte(v))
	}
	dst = append(dst, kind|byte(mask))
	for v -= mask; v >= 0x80; v >>= 7 {
		dst = append(dst, byte(v)|0x80)
	}
	return append(dst, byte(v))
}

// hash is FNV-1a over name and value.
func hash(name, value []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range name {
		h = (h ^ uint32(c)) * 16777619
	}
	h = (h ^ ':') * 16777619
	for _, c := range value {
		h = (h ^ uint32(c)) * 16777619
	}
	return h | 1 // 0 is an empty slot of seen
}
