// Package upstream holds the clusters of one proxy: which endpoints they have, in
// what state these are, and the connections to them.
//
// Configuration arrives as immutable nodes (config.Cluster, config.Endpoints) and
// is published per cluster as one view. Run-time state (ejections, breakers, pools,
// counters) is keyed by cluster name and endpoint address; it lives beside the
// views and survives their change.
//
// Connections are pooled by endpoint, link (plain text, or one TLS context) and wish:
// the version of HTTP, and what TLS offers. One of HTTP/1.1 serves a request at a
// time; requests that wait for one make it themselves. One of HTTP/2 carries as many
// as its endpoint allows: requests share those that there are, and wait together
// for one that is being made (pool.go says how many there are). What ends a
// connection's use (its limits, GOAWAY, an update) ends it with its last request.
//
// A Handle is the stable name of a cluster: routes hold it before the cluster
// exists and while it is exchanged. A cluster that has not got its endpoints is
// warming: the version before it, if there is one, goes on serving.
package upstream
