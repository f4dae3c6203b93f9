// Package supervise runs Deployments as processes: replicas, probes, restarts
// with back-off, graceful ends and rolling updates, with the rules of Kubernetes'
// controllers and kubelet. Where a pod's processes run, and how its proxy comes
// about, is a Runtime's affair.
package supervise
