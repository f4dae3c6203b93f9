// Package netns is the network of a mesh on one machine: a hub namespace with a
// bridge, a namespace with an address for every workload, and the ways between
// them, the host and the outside.
//
// Nothing is made in the host's namespace but ordinary sockets, so that nothing
// can be left behind: namespaces, links and rules go with the process.
package netns
