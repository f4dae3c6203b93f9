// Package http1 is the HTTP/1.1 codec (RFC 9112) on both sides: ServerConn serves
// a downstream connection, ClientConn speaks to an endpoint.
//
// A connection is served by one goroutine. Header sections are copied once from
// the read buffer into the message's Head and written back in unchanged runs, so
// that order, case and spacing of fields survive; only what concerns the
// connection itself (Connection, Keep-Alive, Proxy-Connection, TE,
// Transfer-Encoding, Upgrade) is taken out and made anew. The Host and
// Content-Length lines stay in the Head, to hold their place: what counts is
// Request.Authority and the message's Length, and the codec corrects the lines
// where they differ. An exchange on a kept connection allocates nothing, and an
// idle connection holds no buffer.
//
// Parsing is strict, since what two programs read differently can be smuggled
// from one past the other: no bare CR or LF, no folded lines, no space around
// field names, one Content-Length or one "Transfer-Encoding: chunked" and never
// both. What is refused is answered with 400 (501 for other codings, 431 for too
// much, 505 for other versions) and the connection is closed.
package http1
