package cluster

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
)

// health is what the kubelet asks. Its methods are safe for concurrent use.
type health struct {
	leaving atomic.Bool
	why     atomic.Pointer[func() error] // why the replica is not ready; nil: it starts
}

var errStarting = errors.New("the control plane starts")

// wait says what the replica waits for; nil errors mean that it serves.
func (h *health) wait(why func() error) { h.why.Store(&why) }

// Ready tells why the replica must not get callers; nil if it may.
func (h *health) Ready() error {
	if h.leaving.Load() {
		return errors.New("the control plane ends")
	}
	why := h.why.Load()
	if why == nil {
		return errStarting
	}
	return (*why)()
}

// handler serves /ready and /live. A replica lives as long as it answers: what it
// waits for comes without a restart.
func (h *health) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if err := h.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /live", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "live") })
	return mux
}
