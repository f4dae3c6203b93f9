package ops

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Readiness collects named conditions; it is ready when all of them hold. It is
// safe for concurrent use.
type Readiness struct {
	mu      sync.Mutex
	waiting map[string]string // guarded by mu: condition → why it does not hold
	known   map[string]bool   // guarded by mu
}

// NewReadiness makes a readiness that waits for the named conditions.
func NewReadiness(conditions ...string) *Readiness {
	r := &Readiness{waiting: map[string]string{}, known: map[string]bool{}}
	for _, c := range conditions {
		r.known[c] = true
		r.waiting[c] = "not yet"
	}
	return r
}

// Set says that a condition holds (why is empty), or why it does not.
func (r *Readiness) Set(condition, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.known[condition] = true
	if why == "" {
		delete(r.waiting, condition)
	} else {
		r.waiting[condition] = why
	}
}

// Err is nil when ready, else names what is waited for.
func (r *Readiness) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		return nil
	}
	var parts []string
	for _, c := range slices.Sorted(maps.Keys(r.waiting)) {
		parts = append(parts, c+": "+r.waiting[c])
	}
	return fmt.Errorf("not ready: %s", strings.Join(parts, "; "))
}

// ServeHTTP answers 200 when ready, else 503 with the reasons.
func (r *Readiness) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	if err := r.Err(); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, err)
		return
	}
	fmt.Fprintln(w, "ready")
}
