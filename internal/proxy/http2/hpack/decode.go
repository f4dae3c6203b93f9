package hpack

import (
	"errors"

	"golang.org/x/net/http2/hpack"
)

// Errors of Decode: each is a COMPRESSION_ERROR of the connection.
var (
	ErrTruncated = errors.New("header block is truncated")
	ErrInteger   = errors.New("header block has an integer that is too large")
	ErrIndex     = errors.New("header block has an invalid index")
	ErrHuffman   = errors.New("header block has an invalid Huffman code")
	ErrTableSize = errors.New("header block has an invalid table size update")
)

// Sink takes the fields of a block as they are decoded.
type Sink interface {
	// Field is called for every field, in order. The slices are valid until it
	// returns.
	Field(name, value []byte)
}

// Decoder decodes header blocks of one connection, in order. The zero Decoder has
// the default table size.
type Decoder struct {
	table   table
	limit   uint32 // what we allow the peer
	ready   bool
	scratch scratch // decoded Huffman strings
}

// scratch is a buffer as an io.Writer.
type scratch struct{ b []byte }

func (s *scratch) Write(p []byte) (int, error) {
	s.b = append(s.b, p...)
	return len(p), nil
}

// Decode decodes a complete block. After an error the connection cannot go on.
func (d *Decoder) Decode(p []byte, sink Sink) error {
	if !d.ready {
		d.ready, d.limit, d.table.max = true, DefaultTableSize, DefaultTableSize
	}
	begun := false
	for len(p) > 0 {
		b := p[0]
		var err error
		if b&0xe0 == 0x20 {
			if begun {
				return ErrTableSize // only at the beginning (RFC 7541 §4.2)
			}
			p, err = d.tableSize(p)
		} else {
			begun = true
			p, err = d.field(b, p, sink)
		}
		if err != nil {
			return err
		}
	}
	if cap(d.scratch.b) > 16<<10 {
		d.scratch.b = nil
	}
	return nil
}

func (d *Decoder) tableSize(p []byte) ([]byte, error) {
	n, p, err := readInt(p, 5)
	if err != nil {
		return nil, err
	}
	if n > d.limit {
		return nil, ErrTableSize
	}
	d.table.resize(n)
	return p, nil
}

// field decodes one field whose first byte is b.
func (d *Decoder) field(b byte, p []byte, sink Sink) ([]byte, error) {
	bits := uint8(4)
	switch {
	case b&0x80 != 0:
		bits = 7
	case b&0x40 != 0:
		bits = 6
	}
	i, p, err := readInt(p, bits)
	if err != nil {
		return nil, err
	}
	var name, value []byte
	d.scratch.b = d.scratch.b[:0]
	if i > 0 || bits == 7 {
		if name, value, err = d.lookup(i); err != nil {
			return nil, err
		}
		if bits == 7 {
			sink.Field(name, value)
			return p, nil
		}
	} else if name, p, err = d.str(p); err != nil {
		return nil, err
	}
	if value, p, err = d.str(p); err != nil {
		return nil, err
	}
	sink.Field(name, value)
	if bits == 6 {
		d.table.add(name, value, 0)
	}
	return p, nil
}

func (d *Decoder) lookup(i uint32) (name, value []byte, err error) {
	if i == 0 || i > uint32(len(staticTable)+d.table.len()) {
		return nil, nil, ErrIndex
	}
	if i <= uint32(len(staticTable)) {
		s := &staticTable[i-1]
		return s.name, s.value, nil
	}
	name, value = d.table.at(int(i) - len(staticTable) - 1)
	return name, value, nil
}

// str reads a string literal. What was decoded before into scratch stays valid:
// its old memory does if it grows.
func (d *Decoder) str(p []byte) (s, rest []byte, err error) {
	if len(p) == 0 {
		return nil, nil, ErrTruncated
	}
	huffman := p[0]&0x80 != 0
	n, p, err := readInt(p, 7)
	if err != nil {
		return nil, nil, err
	}
	if uint64(n) > uint64(len(p)) {
		return nil, nil, ErrTruncated
	}
	if !huffman {
		return p[:n:n], p[n:], nil
	}
	start := len(d.scratch.b)
	if _, err := hpack.HuffmanDecode(&d.scratch, p[:n]); err != nil {
		return nil, nil, ErrHuffman
	}
	return d.scratch.b[start:len(d.scratch.b):len(d.scratch.b)], p[n:], nil
}

// readInt reads an integer with an n-bit prefix (RFC 7541 §5.1).
func readInt(p []byte, n uint8) (v uint32, rest []byte, err error) {
	if len(p) == 0 {
		return 0, nil, ErrTruncated
	}
	mask := uint32(1)<<n - 1
	v = uint32(p[0]) & mask
	p = p[1:]
	if v < mask {
		return v, p, nil
	}
	for shift := 0; ; shift += 7 {
		if len(p) == 0 {
			return 0, nil, ErrTruncated
		}
		if shift > 21 {
			return 0, nil, ErrInteger
		}
		b := p[0]
		p = p[1:]
		v += uint32(b&0x7f) << shift
		if b&0x80 == 0 {
			return v, p, nil
		}
	}
}
