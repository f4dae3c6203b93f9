// Package e2e tests the built binary as its users meet it: it starts meshes with
// `lateen up`, sends requests through their gateways and from inside workloads,
// and looks at what comes out. Nothing of the mesh is linked in.
//
// LATEEN_BINARY names the binary (make e2e builds it). Tests that need a real
// component skip with one sentence where it is missing.
package e2e
