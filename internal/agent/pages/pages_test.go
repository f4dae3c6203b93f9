package pages

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestPages(t *testing.T) {
	var ready error
	drained, quit := 0, 0
	say := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, text) })
	}
	o := Options{
		Ready: func() error { return ready }, Metrics: say("merged"), OwnMetrics: say("own"), Probes: say("probe"),
		Drain: func() { drained++ }, Quit: func() { quit++ }, Log: slog.New(slog.DiscardHandler),
	}
	withProfiles := o
	withProfiles.Profiles = true
	for _, x := range []struct {
		name, method, path, from string
		handler                  http.Handler
		ready                    error
		code                     int
		text                     string
	}{
		{"ready", "GET", ReadyPath, "10.0.0.1:1", Readiness(o), nil, 200, "ready\n"},
		{"not ready", "GET", ReadyPath, "10.0.0.1:1", Readiness(o), errors.New("waiting"), 503, "waiting\n"},
		{"agent's readiness", "GET", ReadyPath, "10.0.0.1:1", Agent(o), errors.New("waiting"), 503, "waiting\n"},
		{"merged", "GET", StatsPath, "10.0.0.1:1", Agent(o), nil, 200, "merged"},
		{"own", "GET", StatsPath, "10.0.0.1:1", Own(o), nil, 200, "own"},
		{"probe", "GET", "/app-health/a/livez", "10.0.0.1:1", Agent(o), nil, 200, "probe"},
		{"quit from afar", "POST", QuitPath, "10.0.0.1:1", Agent(o), nil, 403, ""},
		{"drain from afar", "POST", DrainPath, "[fd00::1]:1", Agent(o), nil, 403, ""},
		{"quit by GET", "GET", QuitPath, "127.0.0.1:1", Agent(o), nil, 405, ""},
		{"quit", "POST", QuitPath, "127.0.0.1:1", Agent(o), nil, 200, "OK\n"},
		{"drain", "POST", DrainPath, "[::1]:1", Agent(o), nil, 200, "OK\n"},
		{"unknown", "GET", "/config_dump", "127.0.0.1:1", Agent(o), nil, 404, ""},
		{"no metrics on the readiness port", "GET", StatsPath, "127.0.0.1:1", Readiness(o), nil, 404, ""},
		{"profiles are off", "GET", "/debug/pprof/", "127.0.0.1:1", Agent(o), nil, 404, ""},
		{"profiles", "GET", "/debug/pprof/cmdline", "127.0.0.1:1", Agent(withProfiles), nil, 200, ""},
		{"profiles from afar", "GET", "/debug/pprof/", "10.0.0.1:1", Agent(withProfiles), nil, 403, ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			ready = x.ready
			r := httptest.NewRequest(x.method, x.path, nil)
			r.RemoteAddr = x.from
			w := httptest.NewRecorder()
			x.handler.ServeHTTP(w, r)
			if w.Code != x.code || x.text != "" && w.Body.String() != x.text {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, x.code, x.text)
			}
		})
	}
	if drained != 1 || quit != 1 {
		t.Errorf("drained %d times, quit %d times", drained, quit)
	}
}

func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, http.NotFoundHandler()) }()
	resp, err := http.Get("http://" + l.Addr().String())
	if err != nil || resp.StatusCode != 404 {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	l, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := Serve(t.Context(), l, http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), "pages at") {
		t.Errorf("a closed listener: %v", err)
	}
}
