package inject

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// Names that are the same in every installation.
const (
	defaultRevision        = "default"
	defaultSystemNamespace = "istio-system"

	// ProxyContainer is the proxy; a container that a user gives this name is merged
	// with it.
	ProxyContainer = "istio-proxy"
	// InitContainer sets up the redirection of a pod where no CNI plugin does.
	InitContainer = "istio-init"
	// ValidationContainer holds a pod back that its CNI plugin did not redirect, a pod
	// that came to a node before the plugin did: it ends with code 126, by which the
	// plugin's repair finds the pod.
	ValidationContainer = "istio-validation"
	// AutoImage is what users write as image of a container that the injector
	// completes; Kubernetes demands some image.
	AutoImage = "auto"
)

// Names of the built-in templates.
const (
	TemplateSidecar = "sidecar"
	TemplateGateway = "gateway"
)

// proxyless are templates of Istio that are refused, unless the configuration has
// its own: pods with them would start, and then have no mesh.
var proxyless = []string{"grpc-agent", "grpc-simple"}

// Policy is what becomes of pods that say nothing themselves.
type Policy string

// The policies.
const (
	PolicyEnabled  Policy = "enabled"
	PolicyDisabled Policy = "disabled"
)

// Config is the injector's configuration: key "config" of the ConfigMap
// istio-sidecar-injector, in Istio's form.
type Config struct {
	Policy Policy `json:"policy,omitempty"`
	// DefaultTemplates are rendered for pods without inject.istio.io/templates.
	DefaultTemplates []string `json:"defaultTemplates,omitempty"`
	// Templates are users' own, by name. They replace built-in ones of the same name.
	Templates map[string]string `json:"templates,omitempty"`
	// Aliases are names for lists of templates; they do not nest.
	Aliases map[string][]string `json:"aliases,omitempty"`
	// NeverInjectSelector wins over AlwaysInjectSelector; both act on pods without a
	// label or annotation sidecar.istio.io/inject. Selectors of a list are alternatives.
	NeverInjectSelector  []metav1.LabelSelector `json:"neverInjectSelector,omitempty"`
	AlwaysInjectSelector []metav1.LabelSelector `json:"alwaysInjectSelector,omitempty"`
	// InjectedAnnotations are added to every injected pod.
	InjectedAnnotations map[string]string `json:"injectedAnnotations,omitempty"`
	// Template is a guard that Istio's chart writes for old injectors; it is not read.
	Template string `json:"template,omitempty"`

	never, always []labels.Selector
}

// ParseConfig reads the YAML or JSON of a Config. Unknown fields are errors.
func ParseConfig(text []byte) (*Config, error) {
	c := &Config{}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		return nil, fmt.Errorf("injector configuration: %w", err)
	}
	return c, c.complete()
}

// complete fills in defaults and checks what is checked once.
func (c *Config) complete() error {
	c.Policy = cmp.Or(c.Policy, PolicyEnabled)
	if len(c.DefaultTemplates) == 0 {
		c.DefaultTemplates = []string{TemplateSidecar}
	}
	if c.Policy != PolicyEnabled && c.Policy != PolicyDisabled {
		return fmt.Errorf("injector configuration: policy %q is neither enabled nor disabled", c.Policy)
	}
	var errs []error
	read := func(name string, list []metav1.LabelSelector) []labels.Selector {
		var out []labels.Selector
		for i := range list {
			s, err := metav1.LabelSelectorAsSelector(&list[i])
			switch {
			case err != nil:
				errs = append(errs, fmt.Errorf("injector configuration: %s[%d]: %w", name, i, err))
			case !s.Empty(): // an empty selector selects nothing, as in Istio
				out = append(out, s)
			}
		}
		return out
	}
	c.never = read("neverInjectSelector", c.NeverInjectSelector)
	c.always = read("alwaysInjectSelector", c.AlwaysInjectSelector)
	return errors.Join(errs...)
}

// selects reports whether one of the selectors matches.
func selects(list []labels.Selector, podLabels map[string]string) bool {
	return slices.ContainsFunc(list, func(s labels.Selector) bool { return s.Matches(labels.Set(podLabels)) })
}

// expand resolves aliases.
func (c *Config) expand(names []string) []string {
	var out []string
	for _, n := range names {
		if list, ok := c.Aliases[n]; ok {
			out = append(out, list...)
		} else {
			out = append(out, n)
		}
	}
	return out
}
