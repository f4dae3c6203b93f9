// Package intercept makes a workload's traffic pass its proxy: redirection rules
// as data, their rendering and their installation over netlink, and the network
// namespaces that the rules live in.
//
// There are two sets of rules. Rules gives those of the one-machine mode, where the
// process owns the namespaces and a proxy is told by its sockets' mark. PodRules
// gives those of a pod of Kubernetes, where a proxy is told by its user, with all
// that Istio's flags and annotations choose; Install and Uninstall put them into
// the namespace of the calling thread, and Probe checks them from inside without
// privilege.
//
// No external program is needed. An ordinary user may do it all inside a user
// namespace.
package intercept
