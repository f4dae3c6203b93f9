// Package listener accepts connections and brings each to the filter chain that
// serves it: original destination, hand-over between listeners, PROXY protocol,
// inspection of the first bytes, chain match, TLS handshake. What a chain does
// with a connection is its Server's business.
//
// An update keeps the connections of every chain that did not change; a chain or
// listener that disappears drains its own connections and no others.
package listener
