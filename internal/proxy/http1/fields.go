package http1

import (
	"encoding/binary"
	"math/bits"

	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// tchar marks the characters of a token (RFC 9110 §5.6.2).
var tchar = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c-'a'+'A'] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()

// parseFields parses raw, whole lines each ended by CRLF without the empty one,
// into h, and what concerns framing and connection into f.
func parseFields(h *stream.Head, raw []byte, maxHeaders int, f *framing) error {
	raw = h.Load(raw)
	for pos, lines := 0, 0; pos < len(raw); lines++ {
		if lines == maxHeaders {
			return errTooManyLines
		}
		i := pos
		for tchar[raw[i]] { // ends at the latest at the line's CR
			i++
		}
		if i == pos && (raw[i] == ' ' || raw[i] == '\t') {
			return errFold
		}
		if i == pos || raw[i] != ':' {
			return errFieldName
		}
		nameEnd := i
		for i++; raw[i] == ' ' || raw[i] == '\t'; i++ {
		}
		value := i
		cr := controlAt(raw, i)
		if cr < 0 {
			return errFieldValue
		}
		valueEnd := cr
		for valueEnd > value && (raw[valueEnd-1] == ' ' || raw[valueEnd-1] == '\t') {
			valueEnd--
		}
		name := stream.KnownName(raw[pos:nameEnd])
		keep := true
		if name.ID() != 0 {
			var err error
			if keep, err = f.note(name, raw[value:valueEnd]); err != nil {
				return err
			}
		}
		if keep {
			h.AddKnownLine(name, pos, nameEnd, value, valueEnd, cr+2)
		}
		pos = cr + 2
	}
	return f.removeNominated(h)
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// controlAt returns the position of the CRLF that ends the line at i, or -1 if
// another control character than HTAB comes before it. Eight bytes are tested at
// a time: the lowest marked byte of x is exact.
func controlAt(p []byte, i int) int {
	for {
		for ; i+8 <= len(p); i += 8 {
			x := binary.LittleEndian.Uint64(p[i:])
			del := x ^ 0x7f*ones
			if m := ((x - 0x20*ones) &^ x & highs) | ((del - ones) &^ del & highs); m != 0 {
				i += bits.TrailingZeros64(m) >> 3
				break
			}
		}
		for ; i < len(p) && p[i] >= 0x20 && p[i] != 0x7f; i++ {
		}
		switch {
		case i >= len(p):
			return -1
		case p[i] == '\t':
			i++
		case p[i] == '\r' && i+1 < len(p) && p[i+1] == '\n':
			return i
		default:
			return -1
		}
	}
}

// parseLength parses 1*DIGIT; -1 if it is anything else or too large.
func parseLength(p []byte) int64 {
	if len(p) == 0 || len(p) > 18 {
		return -1
	}
	var n int64
	for _, c := range p {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// nextToken splits the first element off a comma-separated list.
func nextToken(list []byte) (token, rest []byte) {
	end := len(list)
	for i, c := range list {
		if c == ',' {
			end = i
			break
		}
	}
	token, rest = list[:end], nil
	if end < len(list) {
		rest = list[end+1:]
	}
	return trim(token), rest
}

func trim(p []byte) []byte {
	for len(p) > 0 && (p[0] == ' ' || p[0] == '\t') {
		p = p[1:]
	}
	for len(p) > 0 && (p[len(p)-1] == ' ' || p[len(p)-1] == '\t') {
		p = p[:len(p)-1]
	}
	return p
}
