package command

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := write("good.json", `{"envoy":"/bin/envoy","xds":"unix:///x","tokenFile":"`+write("token", "secret\n")+`","runtimeDir":"/r","drainSeconds":3,
		"node":{"id":"sidecar~10.0.0.1~a.b~c","metadata":{"NAMESPACE":"b"}}}`)
	b, err := parse(io.Discard, []string{"--config", good, "--envoy", "/other"})
	if err != nil {
		t.Fatal(err)
	}
	o, err := b.options()
	if err != nil || o.EnvoyPath != "/other" || o.XDS != "unix:///x" || o.Node.Id != "sidecar~10.0.0.1~a.b~c" || o.Drain.Seconds() != 3 {
		t.Errorf("%+v, %v", o, err)
	}
	if token, err := o.Token(); err != nil || token != "secret" {
		t.Errorf("token %q, %v", token, err)
	}
	for name, args := range map[string][]string{
		"no file":       {"--envoy", "/x"},
		"missing file":  {"--config", filepath.Join(dir, "none")},
		"unknown field": {"--config", write("unknown.json", `{"tokenFile":"x","node":{},"nodes":1}`)},
		"no token":      {"--config", write("token.json", `{"node":{}}`)},
		"argument":      {"--config", good, "more"},
		"unknown flag":  {"--config", good, "--no"},
	} {
		if _, err := parse(io.Discard, args); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if err := Run(t.Context(), io.Discard, io.Discard, []string{"--config", write("node.json", `{"tokenFile":"x","node":{"ids":1}}`)}); err == nil || !strings.Contains(err.Error(), "node") {
		t.Errorf("a broken node: %v", err)
	}
}
