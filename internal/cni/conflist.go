package cni

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// chain gives the network configuration list of another agent with our plugin at
// its end; a single configuration becomes a list. What the other wrote stays as it
// is, its name above all: address management goes by it.
func chain(primary []byte, plugin pluginConfig) ([]byte, error) {
	list, plugins, err := readList(primary)
	if err != nil {
		return nil, err
	}
	kept := plugins[:0]
	for _, p := range plugins {
		if pluginType(p) != PluginName {
			kept = append(kept, p)
		}
	}
	own, err := json.Marshal(plugin)
	if err != nil {
		return nil, err
	}
	if list["plugins"], err = json.Marshal(append(kept, own)); err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(text, '\n'), nil
}

// readList reads a list, or a single configuration as a list of one.
func readList(text []byte) (list map[string]json.RawMessage, plugins []json.RawMessage, err error) {
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, nil, err
	}
	if raw, ok := list["plugins"]; ok {
		if err := json.Unmarshal(raw, &plugins); err != nil {
			return nil, nil, fmt.Errorf("plugins: %w", err)
		}
	} else if pluginType(text) != "" {
		plugins = []json.RawMessage{bytes.TrimSpace(text)}
		single := list
		list = map[string]json.RawMessage{}
		for _, key := range []string{"name", "cniVersion"} {
			if v, ok := single[key]; ok {
				list[key] = v
			}
		}
	}
	var name string
	if json.Unmarshal(list["name"], &name) != nil || name == "" {
		return nil, nil, errors.New("the network has no name")
	}
	if len(plugins) == 0 {
		return nil, nil, errors.New("there are no plugins")
	}
	return list, plugins, nil
}

func pluginType(config json.RawMessage) string {
	var p struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(config, &p) != nil {
		return ""
	}
	return p.Type
}

// findPrimary finds the configuration that a runtime would use without ours: the
// first by name that is one (kubelets and runtimes agree on that).
func findPrimary(dir, own string) (path string, text []byte, err error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return "", nil, err
	}
	var bad []error
	for _, e := range entries {
		if e.IsDir() || e.Name() == own || !slices.Contains([]string{".conf", ".conflist", ".json"}, filepath.Ext(e.Name())) || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		text, err := os.ReadFile(path)
		if err == nil {
			_, _, err = readList(text)
		}
		if err == nil {
			return path, text, nil
		}
		bad = append(bad, fmt.Errorf("%s: %w", e.Name(), err)) // half written, perhaps
	}
	return "", nil, errors.Join(append(bad, errNoNetwork)...)
}

// errNoNetwork tells that the node's network plugin did not configure itself yet.
var errNoNetwork = errors.New("no network configuration is there yet")
