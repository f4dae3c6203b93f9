// Package stream is the contract at the heart of the data plane: one HTTP
// exchange as every part of the proxy sees it, whatever protocol carries it.
//
// A codec (http1, http2) reads a request from a connection, makes a Stream
// and calls a Handler on a goroutine that may block. The Handler is a chain of
// Filters that ends in the router; the router opens an Exchange on a ClientConn
// and returns its Response; the codec writes that back. Nothing here knows the
// configuration, the upstream pools or a wire format.
//
// Ownership: bytes that a Head or Body returns are views into the codec's
// buffers, valid until the next read from the same body, or until the exchange
// ends for heads. Whoever keeps them copies them. A Stream and everything it
// reaches are recycled after the Observers have run.
//
// Concurrency: a Stream belongs to its goroutine. Only Reset may be called from
// any goroutine.
package stream
