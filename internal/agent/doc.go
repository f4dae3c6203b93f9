// Package agent runs a stock Envoy as a workload's proxy. It holds the workload's
// identity and hands it to the Envoy over a private socket (SDS), relays the
// Envoy's configuration stream to the control plane with the workload's token
// (ADS), writes the bootstrap, starts the Envoy, starts it again when it dies, and
// drains it before it ends. It answers readiness probes and serves the metrics.
//
// The key never leaves the two processes: the socket lies in a directory that is
// the agent's own.
package agent
