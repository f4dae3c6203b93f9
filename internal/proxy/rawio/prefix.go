package rawio

// prefixed is a Transport whose first bytes were read already.
type prefixed struct {
	Transport
	prefix []byte
}

// Prefixed gives bytes back that an inspector read from t: they are read first.
// It returns t itself where there are none. prefix is kept.
func Prefixed(t Transport, prefix []byte) Transport {
	if len(prefix) == 0 {
		return t
	}
	return &prefixed{t, prefix}
}

// Read gives the prefix, then what t gives.
func (p *prefixed) Read(b []byte) (int, error) {
	if len(p.prefix) == 0 {
		return p.Transport.Read(b)
	}
	n := copy(b, p.prefix)
	if p.prefix = p.prefix[n:]; len(p.prefix) == 0 {
		p.prefix = nil
	}
	return n, nil
}

// ReadLazy implements LazyReader.
func (p *prefixed) ReadLazy(size int) (*Buffer, int, error) {
	if len(p.prefix) == 0 {
		return ReadLazy(p.Transport, size)
	}
	b := GetBuffer(size)
	n, err := p.Read(b.B)
	return b, n, err
}

// NotifyHangup passes on to a Transport in memory.
func (p *prefixed) NotifyHangup(f func()) (stop func()) {
	if n, ok := p.Transport.(HangupNotifier); ok {
		return n.NotifyHangup(f)
	}
	return func() {}
}

// Handshaken implements Scaffold: the prefix was the hello's beginning, mostly.
func (p *prefixed) Handshaken() Transport {
	if len(p.prefix) == 0 {
		return p.Transport
	}
	return p
}

// Unwrap gives the transport below.
func (p *prefixed) Unwrap() Transport { return p.Transport }
