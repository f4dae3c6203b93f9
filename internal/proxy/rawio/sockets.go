package rawio

import "net/netip"

// Sockets makes the sockets of one proxy. On a host or in a pod they are plain
// sockets; in local mode those of a workload lie in its network namespace, since
// a socket belongs to the namespace of the thread that made it.
//
// All descriptors are non-blocking and close-on-exec.
type Sockets interface {
	// Listen returns one or more listening TCP sockets for addr: more than one
	// where the same listener is reached from several namespaces. Reusing the
	// address must be allowed (SO_REUSEADDR).
	Listen(addr netip.AddrPort) ([]int, error)
	// Dial returns a TCP socket, not yet connected, from which remote is reachable.
	// Where the proxy's own traffic must escape its own redirection, the socket
	// carries the mark that the interception rules let pass.
	Dial(remote netip.AddrPort) (int, error)
}
