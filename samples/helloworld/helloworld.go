// Package helloworld is the sample that tells which version and instance
// answered.
package helloworld

import (
	"fmt"
	"net/http"
)

// Handler serves /hello and /health.
func Handler(version, instance string) http.Handler {
	if version == "" {
		version = "v1"
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /hello", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "Hello version: %s, instance: %s\n", version, instance)
	})
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "Helloworld is healthy") })
	return mux
}
