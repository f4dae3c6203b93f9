// Package telemetry tells what the proxy did: Istio's standard metrics under
// their names and labels, and access logs. Nothing here blocks a request.
//
// What clients and servers can make grow is bounded. Of HTTP and of TCP there are
// at most 2,048 sets of labels each; what comes under another set is counted in one
// series with the value "overflow" in every label, and in
// lateen_metrics_overflow_total. While that happens, sets of labels that nothing was
// counted under for ten minutes make room; if they come back they start at 0, which
// Prometheus takes for a restart. Hosts that only requests name are told apart up to
// 256, and are "unknown" then.
//
// Access logs are written in batches: after 50 ms, or 64 KiB, the lines of one
// connection in their order. Lines that a slow writer leaves waiting beyond 1 MiB are dropped and counted, in
// lateen_access_log_dropped_total and in the counter access_log.dropped of the admin
// page /stats.
package telemetry
