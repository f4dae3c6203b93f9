// Package config turns Envoy's xDS resources into what the proxy runs on:
// validated, resolved, compact and immutable nodes. It is the only package of
// the proxy that reads Envoy's protos; after parsing, the messages are dropped.
//
// A field that this proxy does not support is either provably without effect, or
// parsing fails with an error that names the resource and the field path: the
// resource is then rejected (NACK) and the last good one stays.
//
// The tables in the files strict_*.go say for each field of each message what
// becomes of it; whoever makes parsing read another field lists it there.
//
// Nodes hold no parent pointers: a request pins its route, a connection its
// filter chain, and nothing else of the configuration.
package config
