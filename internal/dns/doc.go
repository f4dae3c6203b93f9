// Package dns answers a workload's questions for names: those of the mesh from a
// table that the control plane fills, all others by the host's resolvers.
//
// In a pod, the table holds what the cluster's DNS does not know or should not answer,
// and the resolvers of the pod's resolv.conf are asked for the rest; before the first
// table has come, for everything. Its own questions pass the redirection by the
// proxy's user id.
//
// On one machine, the server's sockets lie in the workload's network namespace, where port 53 is
// redirected to them; its questions to the host's resolvers are asked by ordinary sockets of the process.
package dns
