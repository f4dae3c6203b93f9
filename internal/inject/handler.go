package inject

import (
	"log/slog"
	"net/http"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Deps are what the webhook needs of the control plane. All functions may be
// called concurrently.
type Deps struct {
	// Injector returns the injector in force, or nil while there is none: then the
	// answer is 503, which the webhook's failurePolicy judges.
	Injector func() *Injector
	// Namespace returns labels and annotations of a namespace; false if it is not
	// known (yet): the pod is then injected by its own labels and annotations.
	Namespace func(name string) (Namespace, bool)
	// ProxyConfigs returns the ProxyConfig resources; nil: there are none.
	ProxyConfigs func() []ProxyConfig
	// Report gets every answer, for metrics and events; nil: nobody does.
	Report func(Outcome)
	Log    *slog.Logger
}

// Outcome is what the webhook answered.
type Outcome struct {
	Pod verdict.Ref // the name may end in "*", as long as the API server gave none
	// Owner is the pod's controller, as an event's author would look for it.
	Owner    *metav1.OwnerReference
	DryRun   bool
	Decision Decision
	Verdicts []verdict.Status
	Err      error // denied (a *UserError) or failed
}

// Handler answers AdmissionReview v1 requests for the creation of pods, on /inject
// and below it with Istio's key/value path segments (/inject/cluster/C/net/N).
func Handler(deps Deps) http.Handler {
	return &webhook{deps: deps}
}
