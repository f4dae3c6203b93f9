// Package rawio is the proxy's own socket layer: non-blocking system calls that
// park in the runtime's poller, TLS over them, splice, and a watch that tells of
// peers that left.
//
// An ordinary net.Conn enters and leaves the scheduler around every system call,
// which wakes the runtime's monitor thread at moderate request rates. The calls
// here are made directly on non-blocking descriptors and park only when the
// kernel has nothing, so that code stays straight-line, one goroutine a
// connection, at about half the CPU.
//
// Concurrency, for every Transport: one goroutine may read while another writes.
// Deadlines and Close may be used by any goroutine.
package rawio
