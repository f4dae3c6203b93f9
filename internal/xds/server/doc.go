// Package server speaks the aggregated discovery protocol, incremental (delta)
// and state of the world, and nothing else: it does not know where resources come
// from. For each stream a Conn holds what the client subscribed to, what it was
// sent, and what it said to it. Whoever owns the resources offers a Conn the
// desired state; the Conn finds the difference and sends it in an order that
// never leaves the client with a reference to something missing: clusters,
// endpoints, listeners, routes; and removals last, after everything before was
// answered.
//
// A Conn has two goroutines: one receives, one sends. Offers overwrite one
// another: a slow client gets the newest state, not a queue of old ones.
package server
