package rawio

// Pace chooses the size of a reader's next buffer by how full the last ones were:
// small ones for chatty flows, which they fit in the processor's cache, large ones
// for bulk flows, which they save system calls. The zero value is ready; one
// goroutine uses it.
type Pace struct{ level uint8 }

var paces = [...]int{MediumBuffer, LargeBuffer, HugeBuffer}

// Size is the size of the next buffer.
func (p *Pace) Size() int { return paces[p.level] }

// Read notes that a read into a buffer of Size bytes gave n. A read that fills more
// than half asks for the next larger size; one that fills little asks for the
// smaller one.
func (p *Pace) Read(n int) {
	size := paces[p.level]
	switch {
	case n > size/2:
		p.level = min(p.level+1, uint8(len(paces)-1))
	case n <= size/8 && p.level > 0:
		p.level--
	}
}

// Fast reports whether the last reads were large.
func (p *Pace) Fast() bool { return p.level > 0 }
