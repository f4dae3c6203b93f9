package ops

import (
	"encoding/json"
	"log/slog"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestTextLines(t *testing.T) {
	var out strings.Builder
	log := Scope(NewLogger(&out, Text, nil), "xds").With("proxy", "a b")
	log.WithGroup("g").Warn("took\nlong", "d", 3*time.Second, "n", 7, slog.Group("h", "k", "v"))
	want := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\twarning\txds\ttook\\nlong\tproxy="a b"\tg\.d=3s\tg\.n=7\tg\.h\.k=v\n$`)
	if !want.MatchString(out.String()) {
		t.Errorf("line %q", out.String())
	}
}

func TestJSONLines(t *testing.T) {
	var out strings.Builder
	Scope(NewLogger(&out, JSON, nil), "xds").Info(`a "b"`, "n", 7, "f", 0.5, "ok", true, "s", "x\ny")
	var got map[string]any
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatalf("%q: %v", out.String(), err)
	}
	for k, want := range map[string]any{"level": "info", "scope": "xds", "msg": `a "b"`, "n": 7.0, "f": 0.5, "ok": true, "s": "x\ny"} {
		if got[k] != want {
			t.Errorf("%s = %v, want %v", k, got[k], want)
		}
	}
}

func TestLevelsChangeAtRunTime(t *testing.T) {
	var out strings.Builder
	levels := NewLevels(slog.LevelInfo)
	log := NewLogger(&out, Text, levels)
	xds, router := Scope(log, "xds"), Scope(log, "router")
	say := func() string {
		out.Reset()
		xds.Debug("x")
		router.Debug("r")
		log.Debug("d")
		return regexp.MustCompile(`(?m)^.*\t(\w)$\n`).ReplaceAllString(out.String(), "$1")
	}
	if got := say(); got != "" {
		t.Errorf("at info: %q", got)
	}
	if err := levels.Set("xds", slog.LevelDebug); err != nil {
		t.Fatal(err)
	}
	if got := say(); got != "x" {
		t.Errorf("xds at debug: %q", got)
	}
	if err := levels.Apply("debug,xds:info"); err != nil {
		t.Fatal(err)
	}
	if got := say(); got != "rd" {
		t.Errorf("default at debug: %q", got)
	}
	levels.SetAll(Off)
	log.Error("e")
	if got := say(); got != "" {
		t.Errorf("off: %q", got)
	}
	if err := levels.Set("nope", slog.LevelInfo); err == nil || !strings.Contains(err.Error(), "default, router, xds") {
		t.Errorf("unknown scope: %v", err)
	}
	if err := levels.Apply("loud"); err == nil {
		t.Error("unknown level accepted")
	}
}

func TestReadiness(t *testing.T) {
	r := NewReadiness("config", "identity")
	r.Set("identity", "")
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/ready", nil))
	if w.Code != 503 || !strings.Contains(w.Body.String(), "config: not yet") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	r.Set("config", "")
	w = httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/ready", nil))
	if w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
