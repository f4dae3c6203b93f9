// Package kube tests Lateen on a real Kubernetes, which it starts itself: the walks
// of the tutorials with real kubectl and Helm, and faults under load with every
// request counted. `make kube` runs all; `make test` runs TestSmoke. See README.md.
package kube
