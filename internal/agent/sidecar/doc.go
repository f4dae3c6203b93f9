// Package sidecar is what surrounds a proxy that is the container of a pod, whichever
// proxy it is: identity and connection to the control plane, the kept configuration,
// names, the pages for kubelet and Prometheus, and the end.
package sidecar
