// Package kube is the one package that talks to Kubernetes: everything that uses
// client-go is here.
//
// A Client holds the connection and the small deeds: secrets and config maps by
// name, server-side apply, TokenReview, certificates by the CSR API, leader
// election, the webhooks' trust. A Source is what the control plane watches: it
// gives the push engine its objects (push.Objects), its memory (push.Memory) and
// its workloads, and follows the mesh's own configuration. What writes back, the
// StatusWriter, the Source's KeepPrior and KeepRoots, is run by the leader only.
//
// Nothing here crashes because the API server is away or a definition is not
// installed: what was read last stays in force, and the watches come back.
//
// What is held of the cluster is small on purpose: watched objects are reduced to
// what a mesh reads while they arrive (table.go), and nothing is held twice.
package kube
