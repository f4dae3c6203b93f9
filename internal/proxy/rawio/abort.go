package rawio

import (
	"errors"
	"syscall"
)

// IsReset reports whether err says that the peer broke the connection, or does not
// know it any more, and did not end it in order.
func IsReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// Abort closes t so that its peer sees a reset: without close_notify and with a RST
// in place of the FIN. What was not sent yet is dropped.
func Abort(t Transport) error {
	if c := RawConn(t); c != nil {
		return errors.Join(c.Abort(), closeBelow(t))
	}
	if r, ok := bottom(t).(interface{ Reset() }); ok { // a pipe in memory
		r.Reset()
	}
	return t.Close()
}

// closeBelow ends the layers over a socket that is closed already: TLS cannot send
// its close_notify, and wakes whoever still uses it.
func closeBelow(t Transport) error {
	if _, ok := t.(*Conn); ok {
		return nil
	}
	if err := t.Close(); !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

func bottom(t Transport) Transport {
	for {
		w, ok := t.(wrapper)
		if !ok {
			return t
		}
		t = w.Unwrap()
	}
}
