// Package proxy is the data plane put together: it applies xDS resources to
// listeners, routes, clusters and endpoints, makes before it breaks, drains what
// disappears, and shows its state on the admin port.
//
// A Proxy owns everything that it runs: there is no package-level state, so one
// process can hold many proxies.
package proxy
