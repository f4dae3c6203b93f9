package http1

// Limits of the chunked coding. Extensions mean nothing to anyone and are
// dropped, so that only their amount is a danger: long ones in front of each small
// chunk make a body cost many times its size.
const (
	maxSizeLine  = 256      // bytes of one line "size;ext"
	maxExtension = 16 << 10 // bytes of extensions in one body
)

// chunkReader decodes the chunked coding (RFC 9112 §7.1) from whatever pieces
// arrive. It is a plain value: a copy looks ahead.
type chunkReader struct {
	state   chunkState
	line    int   // bytes of the size line so far
	digits  int   // of the size
	ext     int   // extension bytes so far
	left    int64 // data bytes of this chunk still to come
	trailer int   // bytes of the trailer section so far
	lineLen int   // bytes of the current trailer line, CR not counted
}

type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkExt
	chunkSizeLF
	chunkData
	chunkDataCR
	chunkDataLF
	chunkTrailer
	chunkTrailerLF
	chunkDone
)

// next decodes from p. It returns the bytes consumed, and the data or trailer
// bytes at their end: it stops behind a piece of data, so that one call returns
// at most one. Trailer lines are returned with their CRLF.
func (c *chunkReader) next(p []byte, maxTrailer int) (n int, data, trailer []byte, err error) {
	for n < len(p) && c.state != chunkDone {
		switch c.state {
		case chunkData:
			k := int(min(c.left, int64(len(p)-n)))
			if c.left -= int64(k); c.left == 0 {
				c.state = chunkDataCR
			}
			return n + k, p[n : n+k : n+k], nil, nil
		case chunkTrailer, chunkTrailerLF:
			k, err := c.trailerPart(p[n:], maxTrailer)
			return n + k, nil, p[n : n+k], err
		default:
			if err := c.step(p[n]); err != nil {
				return n, nil, nil, err
			}
			n++
		}
	}
	return n, nil, nil, nil
}

// step takes one byte of framing.
func (c *chunkReader) step(b byte) error {
	switch c.state {
	case chunkSize:
		return c.sizeByte(b)
	case chunkExt:
		if c.ext++; c.ext > maxExtension || c.line > maxSizeLine {
			return errChunkExt
		}
		c.line++
		if b == '\r' {
			c.state = chunkSizeLF
		} else if b < ' ' && b != '\t' || b == 0x7f {
			return errChunkExt
		}
	case chunkSizeLF:
		if b != '\n' {
			return errChunkSize
		}
		c.line, c.digits = 0, 0
		c.state = chunkData
		if c.left == 0 {
			c.state = chunkTrailer
		}
	case chunkDataCR:
		if b != '\r' {
			return errChunkEnd
		}
		c.state = chunkDataLF
	case chunkDataLF:
		if b != '\n' {
			return errChunkEnd
		}
		c.state = chunkSize
	}
	return nil
}

// sizeByte takes one byte of a size line before its extension. White space after
// the size is refused: parsers differ about it.
func (c *chunkReader) sizeByte(b byte) error {
	d := hexDigit(b)
	switch {
	case d >= 0 && c.digits < 15:
		c.left = c.left<<4 | int64(d)
		c.digits++
		c.line++
	case c.digits > 0 && b == '\r':
		c.state = chunkSizeLF
	case c.digits > 0 && b == ';':
		c.state = chunkExt
	default:
		return errChunkSize
	}
	return nil
}

// trailerPart consumes up to the end of the current trailer line. An empty line
// ends the body.
func (c *chunkReader) trailerPart(p []byte, limit int) (n int, err error) {
	for n < len(p) {
		b := p[n]
		n++
		if c.trailer++; c.trailer > limit {
			return n, errTrailerSize
		}
		if c.state == chunkTrailerLF {
			if b != '\n' {
				return n, errFieldValue
			}
			c.state = chunkTrailer
			if c.lineLen == 0 {
				c.state = chunkDone
			}
			c.lineLen = 0
			return n, nil
		}
		switch b {
		case '\r':
			c.state = chunkTrailerLF
		case '\n':
			return n, errBareLF
		default:
			c.lineLen++
		}
	}
	return n, nil
}

func hexDigit(b byte) int {
	switch {
	case '0' <= b && b <= '9':
		return int(b - '0')
	case 'a' <= b && b <= 'f':
		return int(b-'a') + 10
	case 'A' <= b && b <= 'F':
		return int(b-'A') + 10
	}
	return -1
}
