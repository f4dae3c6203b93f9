// Package explain tells what becomes of one request at one proxy, and why: it runs
// the code that the proxy runs (packages match and balance) over the resources
// that the proxy would get, with a recorder. It opens no connection.
package explain

import (
	"net/netip"
)

// Request is the request to explain.
type Request struct {
	Method    string // "GET" if empty
	Authority string // "reviews:9080"
	Path      string // with query; "/" if empty
	Headers   [][2]string
	// Dest is where the client connects to: a service's address for an outbound
	// request, the gateway's listening address, or the workload's for an inbound one.
	Dest   netip.AddrPort
	Source netip.AddrPort // the client; the zero value is some other host
	// Inbound asks for the side that receives requests for the workload.
	Inbound bool
	// TLS says that the client speaks TLS to this proxy, with these ServerName and
	// ALPNs. Callers in the mesh offer "istio-http/1.1" and "istio".
	TLS        bool
	ServerName string
	ALPNs      []string
	// TCP says that the bytes are no HTTP.
	TCP bool
	// Random decides on fractions and weights: 0 takes the first of them.
	Random uint64
}

// Explanation is the answer. It is plain data and encodes as JSON.
type Explanation struct {
	Request string `json:"request"` // the request in one line
	Steps   []Step `json:"steps"`   // from the listener to the cluster, in order
	// Answer is what the request comes to in one sentence.
	Answer string `json:"answer"`
	// Destinations are the clusters that take the request, by weight.
	Destinations []Destination `json:"destinations,omitempty"`
	// Failure is set where the proxy would not pass the request on: the reason.
	Failure string `json:"failure,omitempty"`
}

// Step is one decision.
type Step struct {
	Kind   string   `json:"kind"` // "listener", "filter chain", "virtual host", "route", "cluster"
	Name   string   `json:"name"`
	Origin string   `json:"origin,omitempty"` // the object that it comes from: "VirtualService default/reviews"
	Why    string   `json:"why"`              // why it was chosen
	Does   []string `json:"does,omitempty"`   // what it does to the request: one clause each
	// Lost are the candidates that were not chosen, in the order in which they were
	// weighed. Those that have nothing to do with the request are only counted.
	Lost  []Lost `json:"lost,omitempty"`
	Other int    `json:"other,omitempty"`
}

// Lost is a candidate that was not chosen.
type Lost struct {
	Name   string `json:"name"`
	Origin string `json:"origin,omitempty"`
	Why    string `json:"why"`
}

// Destination is a cluster with the share of requests that it gets.
type Destination struct {
	Cluster   string     `json:"cluster"`
	Origin    string     `json:"origin,omitempty"`
	Percent   float64    `json:"percent"`
	Policy    string     `json:"policy,omitempty"`
	Problem   string     `json:"problem,omitempty"` // why requests to it fail
	Endpoints []Endpoint `json:"endpoints,omitempty"`
}

// Endpoint is one endpoint of a destination.
type Endpoint struct {
	Address   string `json:"address"`
	Workload  string `json:"workload,omitempty"` // "reviews-v1 in default"
	Weight    uint32 `json:"weight"`
	Priority  uint32 `json:"priority,omitempty"`
	Transport string `json:"transport"` // "mTLS", "TLS" or "plain text"
	State     string `json:"state"`     // "takes requests", or why not
}
