// Package query answers PromQL over the history, and over a Prometheus that was named
// instead, in the form of Prometheus's HTTP API, so that Grafana, Kiali and promtool can
// be pointed at the console. The engine is Prometheus's own; the series are made from
// the history's rows when they are asked for.
package query
