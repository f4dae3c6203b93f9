package gatewayapi

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
)

// NameOverride is Istio's annotation for the name of what a Gateway is deployed as.
const NameOverride = "gateway.istio.io/name-override"

// DeployedName is the name of the Deployment and Service of a Gateway: NAME-CLASS, or
// what its annotation says. Names that would be too long for a Service's label are
// shortened and keep apart by a hash.
func DeployedName(o *api.Object, class string) string {
	if name := o.Meta.Annotations[NameOverride]; name != "" {
		return name
	}
	const longest = 63 // RFC 1123
	name := o.Meta.Name + "-" + class
	if len(name) <= longest {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	hash := hex.EncodeToString(sum[:4])
	return strings.TrimRight(name[:longest-len(hash)-1], "-.") + "-" + hash
}

// AccountOverride is Istio's annotation for the account that a Gateway's workload has.
const AccountOverride = "gateway.istio.io/service-account"

// DeployedAccount is the service account of a Gateway's workload: that of its
// annotation, else of the same name as the Deployment.
func DeployedAccount(o *api.Object, class string) string {
	return cmp.Or(o.Meta.Annotations[AccountOverride], DeployedName(o, class))
}

// placement is where a Gateway runs and how it is reached.
type placement struct {
	selector   map[string]string
	namespace  string // of the workload; "" on one machine
	account    string // of the workload; "" where it is not ours to know
	addresses  []gatewayv1.GatewayStatusAddress
	programmed finding
}

// placement finds the workload of a gateway. An address of the type Hostname names the
// Service of one that somebody else deployed (Istio, "Manual Deployment").
func (r *reader) placement(g *gateway) (placement, finding) {
	if !r.o.Deployed {
		return placement{selector: sharedSelector}, finding{}
	}
	own := g.object.Meta
	at := key{own.Namespace, DeployedName(g.object, string(g.spec.GatewayClassName))}
	p := placement{selector: map[string]string{GatewayNameLabel: own.Name}, namespace: own.Namespace, account: DeployedAccount(g.object, string(g.spec.GatewayClassName))}
	for _, a := range g.spec.Addresses {
		switch kind := value(a.Type, gatewayv1.IPAddressType); kind {
		case gatewayv1.IPAddressType: // asked of the Service's load balancer
		case gatewayv1.HostnameAddressType:
			service, ok := r.serviceAt(a.Value, own.Namespace)
			if !ok {
				p.programmed = finding{string(gatewayv1.GatewayReasonAddressNotUsable), fmt.Sprintf("the address %s is no Service of this cluster", a.Value)}
				return p, finding{}
			}
			at = service
			p.account = ""
			p.selector, p.namespace = maps.Clone(r.services[at].Spec.Selector), at.namespace
		default:
			return p, finding{string(gatewayv1.GatewayReasonUnsupportedAddress), fmt.Sprintf("addresses of the type %s are not supported", kind)}
		}
	}
	p.addresses, p.programmed = r.reachedAt(at)
	return p, finding{}
}

// serviceAt reads the name of a Service as a gateway's address: "name",
// "name.namespace" or longer.
func (r *reader) serviceAt(host, namespace string) (key, bool) {
	host = strings.TrimSuffix(host, ".svc."+r.o.domain())
	host = strings.TrimSuffix(host, ".svc")
	name, ns, ok := strings.Cut(host, ".")
	if !ok {
		ns = namespace
	}
	at := key{ns, name}
	s := r.services[at]
	return at, s != nil && len(s.Spec.Selector) > 0
}

// reachedAt gives the addresses of a gateway's Service.
func (r *reader) reachedAt(at key) ([]gatewayv1.GatewayStatusAddress, finding) {
	none := func(format string, args ...any) ([]gatewayv1.GatewayStatusAddress, finding) {
		return nil, finding{string(gatewayv1.GatewayReasonAddressNotAssigned), fmt.Sprintf(format, args...)}
	}
	s := r.services[at]
	if s == nil {
		return none("the Service %s/%s does not exist", at.namespace, at.name)
	}
	var out []gatewayv1.GatewayStatusAddress
	add := func(kind gatewayv1.AddressType, v string) {
		if v != "" {
			out = append(out, gatewayv1.GatewayStatusAddress{Type: &kind, Value: v})
		}
	}
	for _, in := range s.Status.LoadBalancer.Ingress {
		add(gatewayv1.IPAddressType, in.IP)
		add(gatewayv1.HostnameAddressType, in.Hostname)
	}
	for _, ip := range s.Spec.ExternalIPs {
		add(gatewayv1.IPAddressType, ip)
	}
	switch {
	case len(out) > 0:
		return out, finding{}
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer:
		return none("the Service %s/%s has no address from a load balancer yet", at.namespace, at.name)
	}
	add(gatewayv1.HostnameAddressType, at.name+"."+at.namespace+".svc."+r.o.domain())
	return out, finding{}
}
