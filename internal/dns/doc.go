// Package dns answers a workload's questions for names: those of the mesh from a
// table that the control plane fills, all others by the host's resolvers.
//
// The server's sockets lie in the workload's network namespace, where port 53 is
// redirected to them; its questions to the host's resolvers are asked by
// ordinary sockets of the process.
package dns
