package stream

import "io"

// bytesBody is a body in memory.
type bytesBody struct{ rest []byte }

// NewBody makes a Body of bytes, which it keeps and does not change.
func NewBody(p []byte) Body { return &bytesBody{p} }

// Next returns all bytes at once, then io.EOF.
func (b *bytesBody) Next() ([]byte, error) {
	if len(b.rest) == 0 {
		return nil, io.EOF
	}
	p := b.rest
	b.rest = nil
	return p, nil
}

func (b *bytesBody) Buffered() (int, bool) { return len(b.rest), true }
func (b *bytesBody) Trailers() *Head       { return nil }
func (b *bytesBody) Close(Reason)          { b.rest = nil }
