package rawio

import "context"

// Read implements Transport. It returns all the records that have arrived and that
// p has room for.
func (c *TLSConn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		wait, err := c.ready()
		if err != nil {
			return 0, err
		}
		if wait {
			c.shim.wait()
		}
		if n, err := c.take(p); n > 0 || err != nil {
			return n, err
		}
	}
}

// ReadLazy implements LazyReader. While it waits, nothing of crypto/tls is on the
// stack, whose frames would keep an idle connection's stack from shrinking.
func (c *TLSConn) ReadLazy(size int) (*Buffer, int, error) {
	for {
		wait, err := c.ready()
		if err != nil {
			return nil, 0, err
		}
		if wait {
			c.shim.wait()
		}
		b := GetBuffer(size)
		n, err := c.take(b.B)
		if n > 0 {
			return b, n, nil
		}
		b.Release()
		if err != nil {
			return nil, 0, err
		}
	}
}

// ready sees to it that the connection can be read, and reports whether there is
// nothing to decrypt yet.
func (c *TLSConn) ready() (wait bool, err error) {
	if c.end != nil {
		return false, c.end
	}
	if !c.shaken.Load() {
		if err := c.Handshake(context.Background()); err != nil {
			return false, err
		}
	}
	return !c.pending && c.shim.ahead == nil && c.shim.rerr == nil, nil
}

// take decrypts what was read ahead, without waiting. It may give neither bytes
// nor an error: a part of a record, or a message of the protocol's own.
func (c *TLSConn) take(p []byte) (n int, err error) {
	c.shim.try = true
	for {
		k, err := c.tls.Read(p[n:])
		n += k
		c.pending = n == len(p)
		switch {
		case err == errNothing:
			return n, nil
		case err != nil:
			if !IsTimeout(err) {
				c.end = err // there may be bytes to return first
			}
			if n > 0 {
				err = nil
			}
			return n, err
		case c.pending || c.shim.ahead == nil:
			return n, nil
		}
	}
}
