// Package local runs a whole mesh on one machine: control plane, gateway, a
// proxy and a sandboxed process for every replica of every Deployment, in one
// process (or, on request, with control plane and proxies as processes of their
// own). It needs neither root nor an external program.
//
//	Up ── control plane (goroutine or process) ◄── objects, workloads, names over its sockets
//	   ── netns.Network: hub, addresses, relay
//	   ── supervise.Supervisor ── runtime: place = namespace + DNS + proxy + sandboxes
//	   ── control socket: ps, logs, exec, down, proxies' admin pages
package local
