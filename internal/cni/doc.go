// Package cni redirects pods' traffic without any privilege in the pods: an agent
// on each node installs a chained CNI plugin, which the container runtime calls for
// each new pod, and which installs the rules of package intercept in the pod's
// network namespace.
//
//	kubelet → runtime → plugin ──(Unix socket)── agent → API server
//	                       └→ rules in the pod's namespace
//
// The plugin is a short-lived process on the host. It asks the agent about each
// pod, so that no credential of the cluster lies on the host. The agent reads the
// pod from the API server and decides; it also finds pods that started before the
// plugin was there, and repairs, deletes or labels them, and takes the start-up
// taint from its node.
//
// The package speaks to the API server in plain HTTPS: the proxy's binary links no
// Kubernetes client.
package cni
