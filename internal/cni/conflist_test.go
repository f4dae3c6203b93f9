package cni

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func testPlugin() pluginConfig {
	return pluginConfig{Type: PluginName, Socket: "/var/run/lateen-cni/agent.sock", FailurePolicy: Fail, ExcludeNamespaces: []string{"kube-system"},
		AgentNamespace: "istio-system", AgentPrefix: "istio-cni-node-"}
}

// TestChain: configurations as other agents write them.
func TestChain(t *testing.T) {
	files, err := filepath.Glob("testdata/conflist/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal(err, len(files))
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := chain(a.Files[0].Data, testPlugin())
			name := "out"
			if err != nil {
				name, got = "error", []byte(err.Error()+"\n")
			}
			if *update {
				a.Files = []txtar.File{a.Files[0], {Name: name, Data: got}}
				if err := os.WriteFile(file, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(a.Files[1].Data), string(got)); diff != "" || a.Files[1].Name != name {
				t.Errorf("%s, want %s (-want +got):\n%s", name, a.Files[1].Name, diff)
			}
			if name == "error" {
				return
			}
			again, err := chain(got, testPlugin())
			if err != nil || string(again) != string(got) {
				t.Errorf("chaining again changes it: %v\n%s", err, again)
			}
		})
	}
}

func FuzzChain(f *testing.F) {
	f.Add([]byte(`{"name":"x","cniVersion":"1.0.0","plugins":[{"type":"ptp","mtu":1e3}]}`))
	f.Add([]byte(`{"name":"x","type":"bridge"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := chain(text, testPlugin())
		if err != nil {
			return
		}
		var list struct {
			Name    string
			Plugins []struct{ Type string }
		}
		if err := json.Unmarshal(got, &list); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		ours := 0
		for _, p := range list.Plugins {
			if p.Type == PluginName {
				ours++
			}
		}
		if list.Name == "" || ours != 1 || list.Plugins[len(list.Plugins)-1].Type != PluginName {
			t.Errorf("from %s:\n%s", text, got)
		}
	})
}
