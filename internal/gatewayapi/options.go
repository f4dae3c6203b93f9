package gatewayapi

import (
	"cmp"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// The controllers whose gateways are ours. Istio's name counts where a
// GatewayClass of that controller is installed for us.
const (
	Controller      = "lateen.dev/gateway-controller"
	IstioController = "istio.io/gateway-controller"
)

// DefaultRevision is the revision of a control plane that has no other.
const DefaultRevision = "default"

// Options say whose gateways are read, and where they run. The zero value is the
// mesh on one machine: gateways of the classes "lateen" and "istio" without any
// GatewayClass object, all served by the ingress gateway that every such mesh has.
type Options struct {
	// Deployed is true on Kubernetes: every Gateway has a workload of its own, with
	// the label gateway.networking.k8s.io/gateway-name, in the Gateway's namespace; and
	// classes must exist as objects.
	Deployed bool
	// Controllers are the controller names that are ours; empty: Controller and
	// IstioController. The first is what statuses of mesh routes are written as.
	Controllers []string
	// Revision is the control plane's; empty: "default". Gateways with another value
	// of the label istio.io/rev belong to another control plane.
	Revision string
	// Tags gives further values of istio.io/rev that mean this control plane; nil: none.
	Tags func() []string
	// Domain is the suffix of services' names; empty: cluster.local.
	Domain string
}

// sharedSelector selects the ingress gateway of a mesh on one machine, by the label
// that Istio's samples select too.
var sharedSelector = map[string]string{"istio": "ingressgateway"}

// implicitClasses need no GatewayClass object on one machine.
var implicitClasses = []string{"lateen", "istio"}

func (o *Options) controllers() []string {
	if len(o.Controllers) > 0 {
		return o.Controllers
	}
	return []string{Controller, IstioController}
}

func (o *Options) ours(controller gatewayv1.GatewayController) bool {
	return slices.Contains(o.controllers(), string(controller))
}

// owns reports whether a value of the label istio.io/rev, "" where there is none,
// means this control plane.
func (o *Options) owns(revision string) bool {
	revision = cmp.Or(revision, DefaultRevision)
	return revision == cmp.Or(o.Revision, DefaultRevision) || o.Tags != nil && slices.Contains(o.Tags(), revision)
}

func (o *Options) domain() string { return cmp.Or(o.Domain, mesh.Domain) }
