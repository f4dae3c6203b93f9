// Package peermeta exchanges workload metadata between the proxies of a mesh, in
// the forms that Istio's proxies use: the headers x-envoy-peer-metadata and
// x-envoy-peer-metadata-id over HTTP, and a framed protobuf at the start of mTLS
// connections that negotiated the protocol istio-peer-exchange. Metrics and logs
// name the other side by it.
package peermeta
