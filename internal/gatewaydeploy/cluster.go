package gatewaydeploy

import (
	"context"
	"errors"

	"github.com/lateen-mesh/lateen/internal/api"
)

// ErrNotFound is what a Cluster wraps where an object, or its kind, does not exist.
var ErrNotFound = errors.New("not found")

// Cluster is what a Controller needs of Kubernetes.
type Cluster interface {
	// Apply applies an object server-side, as a field manager that forces conflicts.
	Apply(ctx context.Context, m Manifest) error
	// Find lists the objects of a kind in a namespace with the given name, or with
	// all labels of the selector where the name is empty.
	Find(ctx context.Context, r Resource, namespace, name, selector string) ([]Found, error)
	// Delete removes an object if it still has the UID.
	Delete(ctx context.Context, r Resource, namespace string, f Found) error
	// ConfigMapData reads the data of a ConfigMap with the given name, or of the first
	// with all labels of the selector where the name is empty.
	ConfigMapData(ctx context.Context, namespace, name, selector string) (map[string]string, error)
	// WriteStatus reads an object of a kind of package api, has change edit the typed
	// value, and writes its status if change reports a difference. It tries again when
	// somebody else wrote meanwhile.
	WriteStatus(ctx context.Context, o *api.Object, change func(live any) bool) error
}

// Resource is a kind of object as the API server serves it.
type Resource struct{ Group, Version, Kind, Plural string }

// APIVersion is "apps/v1", or "v1" for the core group.
func (r Resource) APIVersion() string {
	if r.Group == "" {
		return r.Version
	}
	return r.Group + "/" + r.Version
}

// The kinds that a Gateway's workload is made of, and the class itself.
var (
	serviceAccounts = Resource{"", "v1", "ServiceAccount", "serviceaccounts"}
	services        = Resource{"", "v1", "Service", "services"}
	deployments     = Resource{"apps", "v1", "Deployment", "deployments"}
	autoscalers     = Resource{"autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"}
	budgets         = Resource{"policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets"}
	classes         = Resource{api.GroupGatewayAPI, "v1", api.KindGatewayClass, "gatewayclasses"}
)

// Manifest is one object to apply.
type Manifest struct {
	Resource  Resource
	Namespace string // "" for cluster-scoped kinds
	Name      string
	Content   map[string]any // as JSON
}

// Found is an object that exists.
type Found struct {
	Name, UID string
	Owners    []string // UIDs
}
