package hpack

// table is a dynamic table: entries are runs of one arena, newest last. Live bytes
// are at most its size, so that moving them to the front now and then costs little.
type table struct {
	arena   []byte
	entries []entry
	first   int // entries[first:] are live
	size    uint32
	max     uint32
}

type entry struct {
	off, nameLen, valueLen uint32
	hash                   uint32 // of name and value; of encoders only
}

func (e *entry) size() uint32 { return e.nameLen + e.valueLen + entryOverhead }

func (t *table) len() int { return len(t.entries) - t.first }

// at returns entry i: 0 is the newest.
func (t *table) at(i int) (name, value []byte) {
	return t.get(&t.entries[len(t.entries)-1-i])
}

func (t *table) get(e *entry) (name, value []byte) {
	v := e.off + e.nameLen
	return t.arena[e.off:v:v], t.arena[v : v+e.valueLen : v+e.valueLen]
}

// add appends an entry. name may be a view of the arena: it is copied before
// anything moves.
func (t *table) add(name, value []byte, hash uint32) {
	e := entry{nameLen: uint32(len(name)), valueLen: uint32(len(value)), hash: hash}
	if uint64(len(name))+uint64(len(value))+entryOverhead > uint64(t.max) {
		t.evict(t.size) // RFC 7541 §4.4: it empties the table
		return
	}
	n := len(name) + len(value)
	if len(t.arena)+n > cap(t.arena) {
		t.makeRoom(name, value, e)
	} else {
		e.off = uint32(len(t.arena))
		t.arena = append(append(t.arena, name...), value...)
		t.entries = append(t.entries, e)
	}
	t.size += e.size()
	if t.size > t.max {
		t.evict(t.size - t.max)
	}
}

// makeRoom appends the entry behind the live bytes, in the other half of a buffer
// that it swaps, or in a larger one.
func (t *table) makeRoom(name, value []byte, e entry) {
	live := t.entries[t.first:]
	need := len(name) + len(value)
	for i := range live {
		need += int(live[i].nameLen + live[i].valueLen)
	}
	// A new buffer each time the arena is full would be garbage, and moving within
	// it could overwrite name: only growth allocates.
	if 2*need > cap(t.arena) {
		next := make([]byte, 0, max(2*need, 2*cap(t.arena), 256))
		t.move(next, live)
		e.off = uint32(len(t.arena))
		t.arena = append(append(t.arena, name...), value...)
	} else {
		var keep [256]byte
		name = append(keep[:0], name...)
		value = append(name[len(name):], value...)
		t.move(t.arena[:0], live)
		e.off = uint32(len(t.arena))
		t.arena = append(append(t.arena, name...), value...)
	}
	t.entries = append(t.entries, e)
}

// move copies the live entries to dst, which may be the arena itself.
func (t *table) move(dst []byte, live []entry) {
	for i := range live {
		e := &live[i]
		p := t.arena[e.off : e.off+e.nameLen+e.valueLen]
		e.off = uint32(len(dst))
		dst = append(dst, p...)
	}
	t.arena = dst
	n := copy(t.entries, live)
	t.entries, t.first = t.entries[:n], 0
}

// evict drops the oldest entries, at least n bytes of them.
func (t *table) evict(n uint32) {
	for freed := uint32(0); freed < n; t.first++ {
		s := t.entries[t.first].size()
		freed += s
		t.size -= s
	}
	if t.first == len(t.entries) {
		t.entries, t.first, t.arena = t.entries[:0], 0, t.arena[:0]
	}
}

// resize changes the limit.
func (t *table) resize(limit uint32) {
	t.max = limit
	if t.size > limit {
		t.evict(t.size - limit)
	}
}
