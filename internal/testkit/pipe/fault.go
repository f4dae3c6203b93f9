package pipe

import (
	"syscall"
	"time"
)

// Fault is one step of a script: what happens when an end has written a number of
// bytes.
type Fault struct {
	After int64 // bytes written by this end since it was made
	// Exactly one of the following.
	Reset bool          // the connection breaks
	FIN   bool          // this end's direction ends; later writes fail
	Stall time.Duration // the write waits
}

// Script sets the faults of this end's writes, in order of After.
func (e *End) Script(faults ...Fault) {
	e.mu.Lock()
	e.script = faults
	e.mu.Unlock()
}

// ShortReads makes every read of this end return at most n bytes; 0 ends that.
func (e *End) ShortReads(n int) {
	e.mu.Lock()
	e.short = n
	e.mu.Unlock()
}

// Calls counts the writes and reads made on this end, as a measure of the system
// calls that a socket would see.
func (e *End) Calls() (writes, reads int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.writes, e.readCalls
}

// upToFault returns the part of p before the next fault, and the fault if it lies
// within p.
func (e *End) upToFault(p []byte) ([]byte, *Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.script) == 0 {
		return p, nil
	}
	f := e.script[0]
	left := max(0, f.After-e.written)
	if left > int64(len(p)) {
		return p, nil
	}
	e.script = e.script[1:]
	return p[:left], &f
}

func (e *End) act(f *Fault) error {
	switch {
	case f.Reset:
		e.Reset()
		return syscall.ECONNRESET
	case f.FIN:
		if err := e.CloseWrite(); err != nil {
			return err
		}
		return syscall.EPIPE
	}
	time.Sleep(f.Stall)
	return nil
}
