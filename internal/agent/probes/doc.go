// Package probes answers kubelet's probes for the application: the injector rewrites
// them to the agent's port, since kubelet has no identity of the mesh, and the agent
// asks the application as kubelet would have.
package probes
