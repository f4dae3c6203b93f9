package http2

import "github.com/lateen-mesh/lateen/internal/proxy/rawio"

// queue holds received content in pooled buffers. Each is filled before the next
// begins, so that small frames cost no more than their bytes.
type queue struct {
	chunks []chunk
	first  int   // chunks[first:] wait
	n      int   // bytes that wait
	held   chunk // what take handed out
}

type chunk struct {
	buf *rawio.Buffer
	n   int
}

func (q *queue) empty() bool { return q.n == 0 }

// add copies p behind what waits.
func (q *queue) add(p []byte) {
	q.n += len(p)
	for len(p) > 0 {
		if k := len(q.chunks); k == q.first || q.chunks[k-1].n == len(q.chunks[k-1].buf.B) {
			size := rawio.MediumBuffer
			if k == q.first && len(p) <= rawio.SmallBuffer {
				size = rawio.SmallBuffer
			}
			q.chunks = append(q.chunks, chunk{buf: rawio.GetBuffer(size)})
		}
		last := &q.chunks[len(q.chunks)-1]
		k := copy(last.buf.B[last.n:], p)
		last.n += k
		p = p[k:]
	}
}

// take hands the oldest chunk out, until release.
func (q *queue) take() []byte {
	q.held = q.chunks[q.first]
	q.chunks[q.first] = chunk{}
	if q.first++; q.first == len(q.chunks) {
		q.chunks, q.first = q.chunks[:0], 0
	}
	q.n -= q.held.n
	return q.held.buf.B[:q.held.n:q.held.n]
}

// release ends the use of what take handed out, and returns its size.
func (q *queue) release() int {
	n := q.held.n
	q.held.buf.Release()
	q.held = chunk{}
	return n
}

// drop forgets what waits.
func (q *queue) drop() {
	for i := q.first; i < len(q.chunks); i++ {
		q.chunks[i].buf.Release()
		q.chunks[i] = chunk{}
	}
	q.chunks, q.first, q.n = q.chunks[:0], 0, 0
}
