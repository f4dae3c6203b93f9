// Package client speaks the delta variant of Envoy's aggregated discovery
// service (ADS) as a proxy does: it subscribes, hands resources to a Handler,
// and acknowledges or rejects them by the Handler's verdict. It knows the
// protocol and nothing of the resources.
//
// The connection may come and go: what was received stays valid, and after a
// reconnect the client tells the server which versions it has, so that only
// differences are sent (initial_resource_versions).
package client
