package analyze

import (
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// defaultProviders tells whether the mesh's configuration names providers of its
// own, which Telemetries without any then use.
func (w *world) defaultProviders() bool {
	o := w.byRef[verdict.Ref{Kind: api.KindConfigMap, Namespace: w.root, Name: "istio"}]
	if o == nil {
		return false
	}
	var settings struct {
		AccessLogFile    string `json:"accessLogFile"`
		EnableTracing    bool   `json:"enableTracing"`
		DefaultProviders struct {
			Tracing       []string `json:"tracing"`
			AccessLogging []string `json:"accessLogging"`
		} `json:"defaultProviders"`
	}
	if err := yaml.Unmarshal([]byte(o.Spec.(*corev1.ConfigMap).Data["mesh"]), &settings); err != nil {
		return false // the reader of the mesh's configuration says so
	}
	return settings.AccessLogFile != "" || settings.EnableTracing || len(settings.DefaultProviders.Tracing)+len(settings.DefaultProviders.AccessLogging) > 0
}
