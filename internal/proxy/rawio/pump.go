package rawio

import (
	"errors"
	"io"
)

// bulkReads is how many large reads in a row make a flow a bulk one, worth splicing.
const bulkReads = 4

// Pump moves the bytes of one direction of a relayed connection or tunnel. It holds
// a buffer only while there is something to move, at most HugeBuffer bytes of a
// flow whose reader is slow, and splices bulk flows between plain sockets.
type Pump struct {
	Dst io.Writer
	Src io.Reader // read as ReadLazy does
	// To and From are the sockets that Dst and Src stand for, where nothing but
	// bytes that were read ahead lies between (PlainConn). Both are needed to splice.
	To, From *Conn
	// Moved is told of bytes that Dst took, on Run's goroutine; nil: nobody is.
	Moved func(n int)
	// Spliced is told of those that Src and Dst did not see, before Moved; nil:
	// nobody is.
	Spliced func(n int)
}

// Run moves bytes until Src ends, which is no error. writing says that Dst failed
// and not Src.
func (p *Pump) Run() (writing bool, err error) {
	splice := p.To != nil && p.From != nil
	var pace Pace
	for fast := 0; ; {
		n, writing, err := p.copy(pace.Size())
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil:
			return writing, err
		}
		pace.Read(n)
		if fast++; !pace.Fast() {
			fast = 0
		}
		if splice && fast >= bulkReads {
			if writing, err := p.splice(); !errors.Is(err, errNoPipe) {
				return writing, err
			}
			splice = false // copying goes on without descriptors
		}
	}
}

// copy moves what one read gives.
func (p *Pump) copy(size int) (n int, writing bool, err error) {
	b, n, err := ReadLazy(p.Src, size)
	if n == 0 {
		b.Release()
		if err == nil {
			err = io.ErrNoProgress
		}
		return 0, false, err
	}
	_, err = p.Dst.Write(b.B[:n])
	b.Release()
	if err != nil {
		return 0, true, err
	}
	p.moved(n)
	return n, false, nil
}

func (p *Pump) moved(n int) {
	if p.Moved != nil {
		p.Moved(n)
	}
}

func (p *Pump) splice() (writing bool, err error) {
	s := NewSplice(p.To, p.From)
	for {
		n, writing, err := s.Move()
		if n > 0 {
			if p.Spliced != nil {
				p.Spliced(n)
			}
			p.moved(n)
		}
		switch {
		case err == io.EOF:
			return false, nil
		case err != nil:
			return writing, err
		}
	}
}

// PlainConn finds the socket below t if nothing changes the bytes in between: nil
// for TLS and for pipes in memory. Wrappers that give back what was read ahead are
// looked through: their bytes must have been read before the socket is.
func PlainConn(t Transport) *Conn {
	for {
		switch v := t.(type) {
		case *Conn:
			return v
		case *TLSConn:
			return nil
		case wrapper:
			t = v.Unwrap()
		default:
			return nil
		}
	}
}
