// Package upstream holds the clusters of one proxy: which endpoints they have, in
// what state these are, and the connections to them.
//
// Configuration arrives as immutable nodes (config.Cluster, config.Endpoints) and
// is published per cluster as one view. Run-time state (ejections, breakers, pools,
// counters) is keyed by cluster name and endpoint address; it lives beside the
// views and survives their change.
//
// A Handle is the stable name of a cluster: routes hold it before the cluster
// exists and while it is exchanged. A cluster that has not got its endpoints is
// warming: the version before it, if there is one, goes on serving.
package upstream
