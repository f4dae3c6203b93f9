package rawio

import "sync"

// The size classes of pooled buffers: a request head and small body; a record; a
// large read; a bulk flow's.
const (
	SmallBuffer  = 4 << 10
	MediumBuffer = 16 << 10
	LargeBuffer  = 64 << 10
	HugeBuffer   = 256 << 10
)

// gatherBuffer holds the records of a huge buffer, with their headers and tags.
const gatherBuffer = HugeBuffer + 8<<10

// Buffer is pooled memory of one size class. B has the class's full length.
type Buffer struct {
	B    []byte
	pool *sync.Pool
}

// The pools hold memory, no state: what is in them is never read before it is
// written.
var (
	smallPool  = newPool(SmallBuffer)
	mediumPool = newPool(MediumBuffer)
	largePool  = newPool(LargeBuffer)
	gatherPool = newPool(gatherBuffer)
	hugePool   = newPool(HugeBuffer)
)

func newPool(size int) *sync.Pool {
	p := new(sync.Pool)
	p.New = func() any { return &Buffer{B: make([]byte, size), pool: p} }
	return p
}

// GetBuffer borrows a buffer of at least size bytes. Sizes above HugeBuffer are
// made to measure and not pooled.
func GetBuffer(size int) *Buffer {
	switch {
	case size <= SmallBuffer:
		return smallPool.Get().(*Buffer)
	case size <= MediumBuffer:
		return mediumPool.Get().(*Buffer)
	case size <= LargeBuffer:
		return largePool.Get().(*Buffer)
	case size <= HugeBuffer:
		return hugePool.Get().(*Buffer)
	case size <= gatherBuffer:
		return gatherPool.Get().(*Buffer)
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
