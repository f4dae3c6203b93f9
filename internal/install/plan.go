package install

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	meshconfig "istio.io/api/mesh/v1alpha1"
	"sigs.k8s.io/yaml"
)

// Component is one part of an installation: what is applied and waited for
// together.
type Component struct {
	ID       string // "base", "pilot", "cni", "ingressGateways", "egressGateways"
	Title    string // for people: "Istio core"
	Sign     string
	Releases []Release
}

// Plan is what an installation consists of, in the order in which it is made.
type Plan struct {
	Profile, Namespace, Revision string
	Components                   []Component
	// Notes are sentences on settings that are accepted and change nothing.
	Notes []string
}

// Titles are the components' names as Istio's tool prints them.
var titles = []Component{
	{ID: "base", Title: "Istio core", Sign: "⛵️"},
	{ID: "pilot", Title: "Istiod", Sign: "🧠"},
	{ID: "cni", Title: "CNI", Sign: "🪢"},
	{ID: "ingressGateways", Title: "Ingress gateways", Sign: "🛬"},
	{ID: "egressGateways", Title: "Egress gateways", Sign: "🛫"},
}

// NewPlan translates settings into releases of the charts. Every setting either
// has an effect, or is an error that names it.
func NewPlan(s Settings) (*Plan, error) {
	t := translator{spec: s, used: map[string]bool{}}
	p := &Plan{
		Profile: t.text("profile"), Namespace: t.text("namespace"), Revision: t.text("revision"),
	}
	if p.Namespace == "" {
		p.Namespace = DefaultNamespace
	}
	if p.Revision == "default" {
		p.Revision = ""
	}
	t.plan = p
	if v := t.text("compatibilityVersion"); v != "" {
		p.Notes = append(p.Notes, fmt.Sprintf("compatibilityVersion %s is accepted and changes nothing: Lateen has one behaviour for all versions of Istio's API", v))
	}
	values := t.values()
	components, _ := s["components"].(map[string]any)
	t.checkComponents(components)
	for _, c := range titles {
		switch c.ID {
		case "base":
			c.Releases = t.single(c.ID, components, Release{Name: "base", Chart: chartKinds, Namespace: p.Namespace, Values: t.forChart(values, chartKinds)})
		case "pilot":
			r := Release{Name: "istiod", Chart: chartControlPlane, Namespace: p.Namespace, Values: t.forChart(values, chartControlPlane)}
			if p.Revision != "" {
				r.Name += "-" + p.Revision
			}
			c.Releases = t.single(c.ID, components, r)
		case "cni":
			c.Releases = t.single(c.ID, components, Release{Name: "istio-cni", Chart: chartCNI, Namespace: p.Namespace, Values: t.forChart(values, chartCNI)})
		default:
			c.Releases = t.gateways(c.ID, components, values)
		}
		if len(c.Releases) > 0 {
			p.Components = append(p.Components, c)
		}
	}
	return p, errors.Join(t.errs...)
}

// Render gives the objects of all components.
func (p *Plan) Render(lookup Lookup) ([]Document, error) {
	var all []Document
	for _, c := range p.Components {
		docs, err := c.render(lookup)
		if err != nil {
			return nil, err
		}
		all = append(all, docs...)
	}
	return all, nil
}

// owned gives the objects that this installation shares with nobody: all but the
// kinds, which take long to render and may be others'.
func (p *Plan) owned(lookup Lookup) ([]Document, error) {
	own := &Plan{Components: slices.DeleteFunc(slices.Clone(p.Components), func(c Component) bool { return c.ID == "base" })}
	return own.Render(lookup)
}

func (c *Component) render(lookup Lookup) ([]Document, error) {
	var all []Document
	for _, r := range c.Releases {
		docs, err := Render(r, lookup)
		if err != nil {
			return nil, err
		}
		all = append(all, docs...)
	}
	return all, nil
}

// translator walks the settings and collects what is wrong with them.
type translator struct {
	spec Settings
	plan *Plan
	used map[string]bool // names below values that some chart took
	errs []error
}

func (t *translator) failf(format string, args ...any) {
	t.errs = append(t.errs, fmt.Errorf(format, args...))
}

func (t *translator) text(name string) string {
	switch v := t.spec[name].(type) {
	case nil:
		return ""
	case string:
		return v
	case float64, int64, bool: // tag: 1.31
		return fmt.Sprint(v)
	default:
		t.failf("%s: %v is no text", name, v)
		return ""
	}
}

// values are the Helm values for all charts, with the fields of the spec that
// stand for some of them.
func (t *translator) values() map[string]any {
	given, ok := t.spec["values"].(map[string]any)
	if !ok && t.spec["values"] != nil {
		t.failf("values: not an object")
	}
	short := map[string]any{}
	global := map[string]any{"istioNamespace": t.plan.Namespace}
	for _, name := range []string{"hub", "tag"} {
		if v := t.text(name); v != "" {
			global[name] = v
		}
	}
	short["global"] = global
	if v := t.plan.Revision; v != "" {
		short["revision"] = v
	}
	if v := t.text("compatibilityVersion"); v != "" {
		short["compatibilityVersion"] = v
	}
	if v := t.plan.Profile; v != "" {
		short["profile"] = v
	}
	if m, ok := t.spec["meshConfig"].(map[string]any); ok {
		short["meshConfig"] = m
	} else if t.spec["meshConfig"] != nil {
		t.failf("meshConfig: not an object")
	}
	out := overlay(given, short)
	if t.enabled("cni") {
		out = overlay(out, map[string]any{"pilot": map[string]any{"cni": map[string]any{"enabled": true}}})
	}
	t.checkMesh(out["meshConfig"])
	t.checkNames(given)
	return out
}

// checkMesh holds the mesh's configuration against its schema: a typo there
// would otherwise show in the control plane's log only.
func (t *translator) checkMesh(mesh any) {
	if mesh == nil {
		return
	}
	text, err := yaml.Marshal(mesh)
	if err == nil {
		text, err = yaml.YAMLToJSON(text)
	}
	if err == nil {
		err = protojson.Unmarshal(text, &meshconfig.MeshConfig{})
	}
	if err != nil {
		t.failf("meshConfig: %w", err)
	}
}

// chartKeys are the values that each chart takes at the top level.
func chartKeys(chart string) (map[string]any, error) {
	c, err := loadChart(chart)
	if err != nil {
		return nil, err
	}
	keys, ok := c.Values[defaultsKey].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("chart %s: no %s in its values", chart, defaultsKey)
	}
	return keys, nil
}

// defaultsKey is where the charts keep their defaults, see the chart istiod.
const defaultsKey = "_internal_defaults_do_not_set"

// forChart picks the values that a chart knows.
func (t *translator) forChart(values map[string]any, chart string) map[string]any {
	keys, err := chartKeys(chart)
	if err != nil {
		t.errs = append(t.errs, err)
		return nil
	}
	out := map[string]any{}
	for k, v := range values {
		if _, ok := keys[k]; ok {
			out[k] = v
		}
	}
	return out
}

// checkNames refuses values that no chart knows. Those of gateways are checked
// where they are translated; those of pilot are accepted at the top level too.
func (t *translator) checkNames(given map[string]any) {
	known := map[string]bool{"gateways": true}
	for _, chart := range []string{chartKinds, chartControlPlane, chartCNI} {
		keys, err := chartKeys(chart)
		if err != nil {
			t.errs = append(t.errs, err)
			return
		}
		for k := range keys {
			known[k] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !known[name] {
			t.failf("values.%s: unknown value; there are %v", name, slices.Sorted(maps.Keys(known)))
		}
	}
}

// enabled tells whether a component is part of the installation.
func (t *translator) enabled(id string) bool {
	components, _ := t.spec["components"].(map[string]any)
	c, _ := components[id].(map[string]any)
	on, _ := c["enabled"].(bool)
	return on
}

// checkComponents refuses components that there are not.
func (t *translator) checkComponents(components map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(components)) {
		if slices.ContainsFunc(titles, func(c Component) bool { return c.ID == name }) {
			continue
		}
		c, _ := components[name].(map[string]any)
		if on, _ := c["enabled"].(bool); !on && (name == "ztunnel" || name == "istiodRemote") {
			continue // what is off needs no support
		}
		t.failf("components.%s: not supported", name)
	}
}
