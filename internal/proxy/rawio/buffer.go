package rawio

import "sync"

// The size classes of pooled buffers: a request head and small body; a few
// records; a bulk read.
const (
	SmallBuffer  = 4 << 10
	MediumBuffer = 16 << 10
	LargeBuffer  = 64 << 10
)

// Buffer is pooled memory of one size class. B has the class's full length.
type Buffer struct {
	B    []byte
	pool *sync.Pool
}

// The pools hold memory, no state: what is in them is never read before it is
// written.
var smallPool, mediumPool, largePool = newPool(SmallBuffer), newPool(MediumBuffer), newPool(LargeBuffer)

func newPool(size int) *sync.Pool {
	p := new(sync.Pool)
	p.New = func() any { return &Buffer{B: make([]byte, size), pool: p} }
	return p
}

// GetBuffer borrows a buffer of at least size bytes. Sizes above LargeBuffer are
// made to measure and not pooled.
func GetBuffer(size int) *Buffer {
	switch {
	case size <= SmallBuffer:
		return smallPool.Get().(*Buffer)
	case size <= MediumBuffer:
		return mediumPool.Get().(*Buffer)
	case size <= LargeBuffer:
		return largePool.Get().(*Buffer)
	}
	return &Buffer{B: make([]byte, size)}
}

// Release gives the buffer back; nil is allowed. Its memory must not be used
// afterwards.
func (b *Buffer) Release() {
	if b != nil && b.pool != nil {
		b.pool.Put(b)
	}
}
