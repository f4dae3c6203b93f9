// Package intercept makes a workload's traffic pass its proxy: redirection rules
// as data, their rendering and their installation over netlink, and the network
// namespaces that the rules live in.
//
// It needs no external program. Everything happens in network namespaces that
// the process owns, so that an ordinary user may do it inside a user namespace.
package intercept
