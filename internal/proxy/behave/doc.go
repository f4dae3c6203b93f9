// Package behave holds tests only: tables of faults at both sides of the proxy, run
// through our proxy and through Envoy from the same resources. For each fault they
// record what the client saw, what the access log says of it, whether connections
// were used again, and how often the server saw the request. testdata/faults.txt is
// the table; where Envoy does something else, it says why.
package behave
