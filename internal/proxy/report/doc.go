// Package report tells the control plane what a proxy has counted, every few seconds,
// on the connection that brings its configuration. It reads the metrics that are
// there anyway: requests pay nothing for it.
package report
