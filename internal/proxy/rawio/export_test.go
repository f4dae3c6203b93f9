package rawio

// Control runs f with the descriptor of a connection.
func Control(c *Conn, f func(fd int)) error {
	return c.control("test", func(fd int) error { f(fd); return nil })
}
