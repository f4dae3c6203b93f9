package pod

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// ProxyConfig holds the fields of istio.mesh.v1alpha1.ProxyConfig that a proxy acts
// on itself. The others are the injector's and the control plane's, or nobody's:
// Ignored names those.
type ProxyConfig struct {
	DiscoveryAddress string
	// DrainDuration is what connections have after a change took their listener
	// away, TerminationDrainDuration what they have when the pod ends; nil: not set.
	DrainDuration, TerminationDrainDuration *time.Duration
	Concurrency                             *int // 0: all cores
	// ProxyMetadata are further variables of the environment.
	ProxyMetadata              map[string]string
	StatusPort, ProxyAdminPort int // 0: not set
	MeshID                     string
	// Told are the fields that the control plane is told, as they were written.
	Told map[string]any
	// Ignored names the fields that were set and that nobody acts on.
	Ignored []string
}

// elsewhere are fields that others act on: the injector when it makes the pod, the
// control plane when it makes the configuration.
var elsewhere = []string{
	"binaryPath", "configPath", "controlPlaneAuthPolicy", "gatewayTopology", "holdApplicationUntilProxyStarts", "image", "interceptionMode",
	"proxyBootstrapTemplatePath", "proxyHeaders", "readinessProbe", "sds", "serviceCluster", "tracing", "tracingServiceName", "workloadName",
}

// ParseProxyConfig reads PROXY_CONFIG: proto JSON of a ProxyConfig, with names in
// either form. A field with a wrong type is an error; one that is not known, as from
// a newer API, is among Ignored.
func ParseProxyConfig(text string) (ProxyConfig, error) {
	var c ProxyConfig
	if strings.TrimSpace(text) == "" {
		return c, nil
	}
	fields := map[string]json.RawMessage{}
	if err := json.Unmarshal([]byte(text), &fields); err != nil {
		return c, fmt.Errorf("PROXY_CONFIG: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if string(fields[name]) == "null" {
			continue // proto JSON: the same as absent
		}
		if err := c.set(camel(name), fields[name]); err != nil {
			return c, fmt.Errorf("PROXY_CONFIG: %s: %w", name, err)
		}
	}
	return c, nil
}

func (c *ProxyConfig) set(name string, value json.RawMessage) error {
	switch name {
	case "discoveryAddress":
		return json.Unmarshal(value, &c.DiscoveryAddress)
	case "meshId":
		return json.Unmarshal(value, &c.MeshID)
	case "proxyMetadata":
		return json.Unmarshal(value, &c.ProxyMetadata)
	case "concurrency":
		return json.Unmarshal(value, &c.Concurrency)
	case "statusPort":
		return json.Unmarshal(value, &c.StatusPort)
	case "proxyAdminPort":
		return json.Unmarshal(value, &c.ProxyAdminPort)
	case "drainDuration":
		return duration(value, &c.DrainDuration)
	case "terminationDrainDuration":
		return duration(value, &c.TerminationDrainDuration)
	}
	if name == "proxyHeaders" || name == "gatewayTopology" {
		var v any
		if err := json.Unmarshal(value, &v); err != nil {
			return err
		}
		if c.Told == nil {
			c.Told = map[string]any{}
		}
		c.Told[name] = v
	}
	if !slices.Contains(elsewhere, name) {
		c.Ignored = append(c.Ignored, name)
	}
	return nil
}

// duration reads a google.protobuf.Duration: "45s", "1.5s".
func duration(value json.RawMessage, to **time.Duration) error {
	var text string
	if err := json.Unmarshal(value, &text); err != nil {
		return err
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return err
	}
	if d < 0 {
		return fmt.Errorf("%s is negative", text)
	}
	*to = &d
	return nil
}

// camel gives the JSON name of a field that is written in the proto's form.
func camel(name string) string {
	parts := strings.Split(name, "_")
	for i := 1; i < len(parts); i++ {
		if p := parts[i]; p != "" {
			parts[i] = strings.ToUpper(p[:1]) + p[1:]
		}
	}
	return strings.Join(parts, "")
}
