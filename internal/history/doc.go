// Package history keeps what proxies report of the last hours: for each set of labels
// of Istio's standard metrics how its counters grew, in steps of five seconds.
//
// A set of labels is stored once, with one log of rows for all its metrics: a row
// holds the step and what grew in it, as variable-length numbers, so that silence
// costs nothing and a busy set about 25 bytes a step. The logs are cut into blocks,
// which begin with the counters' values; beyond the bound of memory or age the oldest
// blocks of all sets are given up. (A Prometheus head block would hold each of the
// seventy series of a set by itself, with its labels.)
//
// Package promql makes Prometheus's series of it.
package history
