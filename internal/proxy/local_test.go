package proxy

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// TestProfilesAreLocal: profiles are shown to this machine alone.
func TestProfilesAreLocal(t *testing.T) {
	for addr, want := range map[string]int{"127.0.0.1:7": 200, "[::1]:7": 200, "@": 200, "": 200, "10.0.0.7:9": 403, "[2001:db8::1]:9": 403, "x:9": 403} {
		r := httptest.NewRequest(http.MethodGet, "/debug/pprof/cmdline", nil)
		r.RemoteAddr = addr
		w := httptest.NewRecorder()
		mux := http.NewServeMux()
		profiles(mux)
		mux.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("from %q: %d, want %d", addr, w.Code, want)
		}
	}
}
