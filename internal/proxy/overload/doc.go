// Package overload protects a proxy from being killed by what it is asked to do.
//
// A Monitor compares what the process uses with what it may use: memory,
// descriptors, connections, goroutines. As the pressure grows it acts in steps,
// each of which costs the clients more than the one before:
//
//	ease    answers end their connection, idle upstream connections are closed
//	refuse  new connections are reset
//	shed    requests are answered 503, a share that grows with the pressure
//
// The steps and their names follow Envoy's overload manager (disable_http_keepalive,
// stop_accepting_connections, stop_accepting_requests with a scaled trigger).
// Nothing is queued at any step.
//
// Measuring costs nothing while nothing happens: it is driven by the collections
// of garbage, which come with allocations, by every few dozenth connection, and by
// a tick of a second that becomes slower while there is no connection.
package overload
