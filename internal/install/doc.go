// Package install puts Lateen into a cluster and takes it out again. The Helm
// charts are the truth: what `helm install` does with them, this package does in
// process, so that `helm template` and `lateen install --dry-run` give the same
// objects. What it adds is an order (kinds first, the control plane, then what
// its webhooks fill in), waiting, and knowing what is ours.
//
//go:generate go run ./crds -out ../../charts/base/files/crds
//go:generate go run ./schemas -charts ../../charts
package install
