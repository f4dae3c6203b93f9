// Package http2 is the HTTP/2 codec, both sides (RFC 9113, RFC 8441), behind the
// contract of package stream.
//
// A connection has a reader and one writer; a server adds a goroutine per stream.
// Everything that goroutines share lies under the connection's one lock, held
// briefly: streams copy frames into a common buffer, and the writer, which yields
// once before it takes the buffer, hands many streams' frames over in one system
// call. Header blocks are compressed under the same lock, so that they reach the
// wire in the order in which they changed the table.
//
// Flow control: the connection's credit is returned when bytes arrive and a
// stream's when they are consumed. A stream that is not read therefore never
// stops its neighbours, and memory is bounded by streams × stream window.
//
// Cancelling never touches the transport's deadlines: blocked calls wait on
// condition variables of their stream.
//
// Locks, outermost first: a server stream's end lock, stream.Stream's own, the
// connection's.
package http2
