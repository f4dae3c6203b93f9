// Package observe is the control plane's side of wire's Observer service: proxies
// report to it what they have counted, and it asks them for live requests.
//
// What a proxy says is taken for what it can know: its own side of every row must be
// of the namespace that it has proved to be of.
package observe
