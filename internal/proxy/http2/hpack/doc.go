// Package hpack is header compression for HTTP/2 (RFC 7541) on byte slices: what
// is decoded are views, tables keep bytes and not strings, and neither side
// allocates in the steady state. Huffman coding itself is that of
// golang.org/x/net/http2/hpack.
//
// Encoder and Decoder belong to one goroutine, or to one lock.
package hpack

// DefaultTableSize is the size of dynamic tables before anything was negotiated.
const DefaultTableSize = 4096

// entryOverhead is what an entry counts beyond its bytes (RFC 7541 §4.1).
const entryOverhead = 32
