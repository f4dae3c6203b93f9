// Package uplink is a proxy's connection to the control plane: TLS checked with the
// roots that lie in the pod as they are at that moment, the token that lies there at
// that moment, and one connection for configuration and certificates.
//
// The control plane's certificate, its roots and the token are all renewed behind
// the proxy's back, and the control plane itself may be replaced at any time.
package uplink
