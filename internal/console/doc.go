// Package console is the mesh for people, over HTTP: an API of its own below /api/
// that answers what the console's pages show (openapi.yaml describes it), and the
// pages themselves. It decides nothing: objects are checked, stored and explained by
// the packages that `lateen apply` and its siblings use, and what is shown of
// traffic comes from the mesh's history.
//
// The handler serves programs and people on the same machine, or over a tunnel that
// ends there: see guard for what it refuses.
package console
