package http2

// closure is how a stream was closed.
type closure uint8

const (
	notClosed    closure = iota
	closedByEnd          // both directions ended
	closedByPeer         // RST_STREAM from the peer
	closedByUs           // RST_STREAM from us: late frames of the peer are legitimate
)

// history remembers the streams that were closed last, to tell late frames from
// breaches of the protocol (RFC 9113 §5.1).
type history struct {
	ring []uint32 // id<<2 | closure
	at   int
}

const historySize = 256

func (h *history) add(id uint32, how closure) {
	v := id<<2 | uint32(how) // 31 bits of id: the highest is lost after 2^30 streams
	if len(h.ring) < historySize {
		h.ring = append(h.ring, v)
		return
	}
	h.ring[h.at] = v
	h.at = (h.at + 1) % historySize
}

// shrink forgets all but the streams that were closed last.
func (h *history) shrink() {
	const few = 16
	if len(h.ring) <= few {
		return
	}
	kept := make([]uint32, 0, few)
	for i := range few { // the oldest lies at h.at
		kept = append(kept, h.ring[(h.at+len(h.ring)-few+i)%len(h.ring)])
	}
	h.ring, h.at = kept, 0
}

func (h *history) find(id uint32) closure {
	for i := len(h.ring) - 1; i >= 0; i-- {
		if h.ring[i]>>2 == id<<2>>2 {
			return closure(h.ring[i] & 3)
		}
	}
	return notClosed
}
