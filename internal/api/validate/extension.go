package validate

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	extensions "istio.io/api/extensions/v1alpha1"
	networkingbeta "istio.io/api/networking/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
)

// Limits of the custom resource definitions.
const (
	longestLua      = 65536
	longestPlugin   = 256
	longestSecret   = 253
	maxVariables    = 256
	longestVariable = 2048
)

// wasm is what WasmPlugin and TrafficExtension's wasm have in common.
type wasm struct {
	url, sha256, secret, name string
	vm                        *extensions.VmConfig
}

func (c *checker) wasmPlugin(p *extensions.WasmPlugin) {
	c.policySelector("spec.selector", p.Selector)
	c.targets(p.Selector != nil, p.TargetRef, p.TargetRefs)
	c.wasm("spec", wasm{url: p.Url, sha256: p.Sha256, secret: p.ImagePullSecret, name: p.PluginName, vm: p.VmConfig})
	for i, m := range p.Match {
		c.trafficPorts(at("spec.match", i), m.GetPorts())
	}
}

func (c *checker) trafficExtension(t *extensions.TrafficExtension) {
	c.policySelector("spec.selector", t.Selector)
	c.targets(t.Selector != nil, nil, t.TargetRefs)
	for i, m := range t.Match {
		c.trafficPorts(at("spec.match", i), m.GetPorts())
	}
	switch f := t.FilterConfig.(type) {
	case nil:
		c.fail("spec", "one of wasm and lua is required")
	case *extensions.TrafficExtension_Lua:
		if code := f.Lua.GetInlineCode(); strings.TrimSpace(code) == "" {
			c.fail("spec.lua.inlineCode", "a program is required")
		} else if len(code) > longestLua {
			c.fail("spec.lua.inlineCode", "the program is longer than %d bytes", longestLua)
		}
	case *extensions.TrafficExtension_Wasm:
		w := f.Wasm
		c.wasm("spec.wasm", wasm{url: w.GetUrl(), sha256: w.GetSha256(), secret: w.GetImagePullSecret(), name: w.GetPluginName(), vm: w.GetVmConfig()})
	}
}

var sum256 = regexp.MustCompile(`^[a-f0-9]{64}$`)

func (c *checker) wasm(path string, w wasm) {
	switch {
	case w.url == "":
		c.fail(path+".url", "a url is required")
	case strings.Contains(w.url, "://"):
		c.urlOf(path+".url", w.url, "http", "https", "file", "oci")
	default:
		c.urlOf(path+".url", "oci://"+w.url, "oci") // an image without a scheme
	}
	if w.sha256 != "" && !sum256.MatchString(w.sha256) {
		c.fail(path+".sha256", "%q is not a SHA-256 sum of 64 hexadecimal digits", w.sha256)
	}
	if len(w.secret) > longestSecret {
		c.fail(path+".imagePullSecret", "the name is longer than %d bytes", longestSecret)
	}
	if len(w.name) > longestPlugin {
		c.fail(path+".pluginName", "the name is longer than %d bytes", longestPlugin)
	}
	env := w.vm.GetEnv()
	if len(env) > maxVariables {
		c.fail(path+".vmConfig.env", "%d variables are more than %d", len(env), maxVariables)
	}
	seen := map[string]bool{}
	for i, v := range env {
		p := at(path+".vmConfig.env", i)
		switch {
		case v.GetName() == "" || len(v.GetName()) > longestPlugin:
			c.fail(p+".name", "a name of at most %d bytes is required", longestPlugin)
		case seen[v.Name]:
			c.fail(p+".name", "the variable %s is set twice", v.Name)
		case v.ValueFrom == extensions.EnvValueSource_HOST && v.Value != "":
			c.fail(p+".value", "a variable whose value comes from the host has none here")
		case len(v.Value) > longestVariable:
			c.fail(p+".value", "the value is longer than %d bytes", longestVariable)
		}
		seen[v.GetName()] = true
	}
}

func (c *checker) trafficPorts(path string, ports []*typev1beta1.PortSelector) {
	for i, p := range ports {
		c.port(at(path+".ports", i)+".number", int64(p.GetNumber()))
	}
}

func (c *checker) proxyConfig(p *networkingbeta.ProxyConfig) {
	c.policySelector("spec.selector", p.Selector)
	if n := p.GetConcurrency(); n != nil && n.Value < 0 {
		c.fail("spec.concurrency", "%d must not be negative; 0 takes all processors", n.Value)
	}
	for _, name := range slices.Sorted(maps.Keys(p.EnvironmentVariables)) {
		switch v := p.EnvironmentVariables[name]; {
		case name == "" || strings.ContainsAny(name, "=\x00"):
			c.fail(key("spec.environmentVariables", name), "%q is not the name of a variable", name)
		case len(v) > longestVariable:
			c.fail(key("spec.environmentVariables", name), "the value is longer than %d bytes", longestVariable)
		}
	}
}
