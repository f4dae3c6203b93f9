// Package scrape makes one page of two: the metrics of the proxy and those of the
// application, so that one scrape of a pod gives both, also where the mesh takes only
// mutual TLS.
package scrape
