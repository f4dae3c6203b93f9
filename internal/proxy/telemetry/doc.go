// Package telemetry tells what the proxy did: Istio's standard metrics under
// their names and labels, and access logs. Nothing here blocks a request.
package telemetry
