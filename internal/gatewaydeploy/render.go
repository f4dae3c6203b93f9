package gatewaydeploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/gatewayapi"
)

// Labels and annotations, Istio's where Istio has them.
const (
	serviceTypeAnnotation = "networking.istio.io/service-type"
	managedLabel          = "gateway.istio.io/managed"
	revisionLabel         = "istio.io/rev"
	istioNameLabel        = "istio.io/gateway-name"
)

// Settings are what the rendered objects depend on besides the Gateway.
type Settings struct {
	Revision   string // of the control plane; "default" or empty writes no label
	Controller string // controllerName of the Gateway's class
}

// Render gives the objects of a Gateway's workload; none for a Gateway that names a
// workload that somebody else deployed (an address of the type Hostname). defaults are
// the parameters of its class, own those of the Gateway. The error names the parameter
// that is wrong.
func Render(o *api.Object, s Settings, defaults, own Parameters) ([]Manifest, error) {
	g, ok := o.Spec.(*gatewayv1.Gateway)
	if !ok {
		return nil, fmt.Errorf("rendering %s: not a Gateway", o.Ref())
	}
	if Manual(&g.Spec) {
		return nil, nil
	}
	r := &renderer{o: o, spec: &g.Spec, s: s, layers: layers{defaults, own}}
	r.name = gatewayapi.DeployedName(o, string(g.Spec.GatewayClassName))
	r.account = gatewayapi.DeployedAccount(o, string(g.Spec.GatewayClassName))
	for _, p := range r.layers {
		if err := p.check(); err != nil {
			return nil, fmt.Errorf("rendering %s: %w", o.Ref(), err)
		}
	}
	r.add(serviceAccountKey, serviceAccounts, r.account, r.serviceAccount())
	r.add(deploymentKey, deployments, r.name, r.deployment())
	r.add(serviceKey, services, r.name, r.service())
	if r.layers.has(autoscalerKey) {
		r.add(autoscalerKey, autoscalers, r.name, r.autoscaler())
	}
	if r.layers.has(budgetKey) {
		r.add(budgetKey, budgets, r.name, r.budget())
	}
	if r.err != nil {
		return nil, fmt.Errorf("rendering %s: %w", o.Ref(), r.err)
	}
	return r.out, nil
}

// Manual reports whether a Gateway's workload is deployed by somebody else.
func Manual(spec *gatewayv1.GatewaySpec) bool {
	for _, a := range spec.Addresses {
		if a.Type != nil && *a.Type == gatewayv1.HostnameAddressType {
			return true
		}
	}
	return false
}

// renderer makes one Gateway's objects. The first error stays.
type renderer struct {
	o             *api.Object
	spec          *gatewayv1.GatewaySpec
	s             Settings
	layers        layers
	name, account string
	out           []Manifest
	err           error
}

func (r *renderer) add(key string, res Resource, name string, object any) {
	m := Manifest{Resource: res, Namespace: r.o.Meta.Namespace, Name: name}
	text, err := json.Marshal(object)
	if err == nil {
		err = json.Unmarshal(text, &m.Content)
	}
	if err == nil {
		m.Content["apiVersion"], m.Content["kind"] = res.APIVersion(), res.Kind
		err = r.layers.merge(key, &m)
	}
	if err != nil && r.err == nil {
		r.err = err
	}
	r.out = append(r.out, m)
}

// selects is what tells the Gateway's pods from others.
func (r *renderer) selects() map[string]string {
	return map[string]string{gatewayapi.GatewayNameLabel: r.o.Meta.Name}
}

// labels are on every object: those of the infrastructure, or of the Gateway itself
// where it names none (GEP-1762), and ours.
func (r *renderer) labels() map[string]string {
	out := map[string]string{}
	if i := r.spec.Infrastructure; i != nil && i.Labels != nil {
		for k, v := range i.Labels {
			out[string(k)] = string(v)
		}
	} else {
		maps.Copy(out, r.o.Meta.Labels)
	}
	maps.Copy(out, r.selects())
	out[gatewayv1.GatewayClassNameLabelKey] = string(r.spec.GatewayClassName)
	out[managedLabel] = strings.ReplaceAll(r.s.Controller, "/", "-")
	return out
}

// annotations are those of the infrastructure, or of the Gateway itself. What tells
// this controller something is not for others to read.
func (r *renderer) annotations() map[string]string {
	out := map[string]string{}
	if i := r.spec.Infrastructure; i != nil && i.Annotations != nil {
		for k, v := range i.Annotations {
			out[string(k)] = string(v)
		}
		return out
	}
	for k, v := range r.o.Meta.Annotations {
		if k != serviceTypeAnnotation && !strings.HasPrefix(k, "gateway.istio.io/") && !strings.HasPrefix(k, "kubectl.kubernetes.io/") {
			out[k] = v
		}
	}
	return out
}

func (r *renderer) meta(name string) metav1.ObjectMeta {
	yes := true
	return metav1.ObjectMeta{
		Name: name, Namespace: r.o.Meta.Namespace, Labels: r.labels(), Annotations: r.annotations(),
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: api.GroupGatewayAPI + "/v1", Kind: api.KindGateway, Name: r.o.Meta.Name, UID: uid(r.o), Controller: &yes,
		}},
	}
}

func (r *renderer) serviceAccount() *corev1.ServiceAccount {
	return &corev1.ServiceAccount{ObjectMeta: r.meta(r.account)}
}

// deployment runs the proxy. The webhook completes the container by the template
// "gateway"; the number of replicas is left to whoever scales it.
func (r *renderer) deployment() *appsv1.Deployment {
	labels, annotations := r.labels(), r.annotations()
	labels[istioNameLabel] = r.o.Meta.Name
	labels["sidecar.istio.io/inject"] = "true"
	labels["service.istio.io/canonical-name"] = r.name
	labels["service.istio.io/canonical-revision"] = "latest"
	if r.s.Revision != "" && r.s.Revision != gatewayapi.DefaultRevision {
		labels[revisionLabel] = r.s.Revision
	}
	annotations["inject.istio.io/templates"] = "gateway"
	annotations["prometheus.io/scrape"] = "true"
	annotations["prometheus.io/port"] = "15020"
	annotations["prometheus.io/path"] = "/stats/prometheus"
	return &appsv1.Deployment{
		ObjectMeta: r.meta(r.name),
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: r.selects()},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
				Spec: corev1.PodSpec{
					ServiceAccountName: r.account,
					Containers: []corev1.Container{{
						Name: "istio-proxy", Image: "auto",
						// The API server would take "auto" for a tag that moves, and pull always.
						ImagePullPolicy: corev1.PullIfNotPresent,
						Ports: []corev1.ContainerPort{
							{Name: "metrics", ContainerPort: 15020, Protocol: corev1.ProtocolTCP},
							{Name: "status-port", ContainerPort: 15021, Protocol: corev1.ProtocolTCP},
						},
					}},
				},
			},
		},
	}
}

func (r *renderer) service() *corev1.Service {
	out := &corev1.Service{
		ObjectMeta: r.meta(r.name),
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Selector: r.selects(), Ports: r.ports(),
		},
	}
	if t := r.o.Meta.Annotations[serviceTypeAnnotation]; t != "" {
		out.Spec.Type = corev1.ServiceType(t)
	}
	for _, a := range r.spec.Addresses {
		if out.Spec.Type == corev1.ServiceTypeLoadBalancer && a.Value != "" && (a.Type == nil || *a.Type == gatewayv1.IPAddressType) {
			out.Spec.LoadBalancerIP = a.Value //nolint:staticcheck // deprecated, and the only portable way to ask for an address
			break
		}
	}
	return out
}

// ports are the listeners' that can be opened, each once, after the port by which
// load balancers see whether the gateway is ready.
func (r *renderer) ports() []corev1.ServicePort {
	tcp := "tcp"
	out := []corev1.ServicePort{{Name: "status-port", Port: 15021, TargetPort: intstr.FromInt32(15021), Protocol: corev1.ProtocolTCP, AppProtocol: &tcp}}
	seen := map[int32]bool{15021: true}
	names := map[string]bool{"status-port": true}
	for i := range r.spec.Listeners {
		l := &r.spec.Listeners[i]
		if l.Protocol != gatewayv1.HTTPProtocolType && l.Protocol != gatewayv1.HTTPSProtocolType || seen[l.Port] {
			continue
		}
		seen[l.Port] = true
		name := strings.ReplaceAll(strings.ToLower(string(l.Name)), ".", "-")
		if len(name) > 63 || names[name] {
			name = fmt.Sprintf("port-%d", l.Port)
		}
		names[name] = true
		protocol := strings.ToLower(string(l.Protocol))
		out = append(out, corev1.ServicePort{Name: name, Port: l.Port, TargetPort: intstr.FromInt32(l.Port), Protocol: corev1.ProtocolTCP, AppProtocol: &protocol})
	}
	return out
}

func (r *renderer) autoscaler() *autoscalingv2.HorizontalPodAutoscaler {
	return &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: r.meta(r.name),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: r.name},
			MaxReplicas:    1, // the parameters say how many
		},
	}
}

func (r *renderer) budget() *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: r.meta(r.name),
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: r.selects()}},
	}
}
