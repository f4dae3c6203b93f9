// Package describe tells in sentences what the mesh does with a pod or a service:
// which objects concern it, and to what effect. It is a pure function of objects.
package describe

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	security "istio.io/api/security/v1beta1"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Pod is what is asked about.
type Pod struct {
	Namespace, Name string
	Labels          map[string]string
	Revision        string // of the control plane that injected it; "" if none did
	Ports           []Port
	Proxied         bool
	Running         bool
}

// Port is a port that a container declares.
type Port struct {
	Number    int32
	Protocol  string
	Container string
}

// Mesh is what the answer is made from.
type Mesh struct {
	Objects       []*api.Object
	RootNamespace string
	// Verdicts are the control plane's; those that are no praise become warnings.
	Verdicts map[verdict.Ref][]verdict.Status
	// Address gives the outside address of a service; nil or "" if it has none.
	Address func(namespace, service string) string
}

// separator stands between the parts, as in istioctl's text.
const separator = "--------------------\n"

// Pod describes a pod.
func (m *Mesh) Pod(p Pod) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Pod: %s\n", p.Name)
	if !p.Proxied {
		fmt.Fprintf(&b, "WARNING: %s is not part of mesh; no Istio sidecar\n", p.Name)
	} else {
		fmt.Fprintf(&b, "   Pod Revision: %s\n", cmp.Or(p.Revision, "unknown"))
	}
	var ports []string
	for _, port := range p.Ports {
		text := fmt.Sprint(port.Number)
		if port.Protocol != "" && port.Protocol != "TCP" {
			text += "/" + port.Protocol
		}
		ports = append(ports, text+" ("+port.Container+")")
	}
	fmt.Fprintf(&b, "   Pod Ports: %s\n", cmp.Or(strings.Join(ports, ", "), "none declared"))
	if !p.Running {
		b.WriteString("WARNING: the pod is not running\n")
	}
	services := m.servicesOf(p)
	if len(services) == 0 {
		b.WriteString(separator + "No service selects the pod: no route of the mesh leads to it\n")
	}
	for _, s := range services {
		b.WriteString(separator)
		m.service(&b, s, p.Labels)
	}
	m.mtls(&b, p.Namespace, p.Labels)
	m.authorization(&b, p.Namespace, p.Labels)
	m.exposure(&b, services)
	return b.String()
}

// Service describes a service; the error says that there is none of the name.
func (m *Mesh) Service(namespace, name string) (string, error) {
	for _, o := range m.Objects {
		if s, ok := o.Spec.(*corev1.Service); ok && o.Meta.Namespace == namespace && o.Meta.Name == name {
			var b strings.Builder
			m.service(&b, o, nil)
			m.mtls(&b, namespace, s.Spec.Selector)
			m.exposure(&b, []*api.Object{o})
			return b.String(), nil
		}
	}
	return "", fmt.Errorf("no service %s in the namespace %s", name, namespace)
}

// servicesOf finds the services that select the pod.
func (m *Mesh) servicesOf(p Pod) []*api.Object {
	var out []*api.Object
	for _, o := range m.Objects {
		if s, ok := o.Spec.(*corev1.Service); ok && o.Meta.Namespace == p.Namespace && len(s.Spec.Selector) > 0 && subset(s.Spec.Selector, p.Labels) {
			out = append(out, o)
		}
	}
	return out
}

// subset reports whether labels have all that a selector asks for.
func subset(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// service describes a service, and the objects for its host; labels are those of
// the pod that is asked about, nil for none.
func (m *Mesh) service(b *strings.Builder, o *api.Object, labels map[string]string) {
	s := o.Spec.(*corev1.Service)
	name := o.Meta.Name
	if labels != nil && o.Meta.Namespace != "default" || labels == nil {
		name += "." + o.Meta.Namespace
	}
	fmt.Fprintf(b, "Service: %s\n", name)
	for _, p := range s.Spec.Ports {
		target := p.TargetPort.String()
		if target == "0" || target == "" {
			target = fmt.Sprint(p.Port)
		}
		fmt.Fprintf(b, "   Port: %s %d/%s targets pod port %s\n", cmp.Or(p.Name, "(without name)"), p.Port, protocol(p), target)
	}
	m.warn(b, o)
	host := hostOf(o)
	for _, x := range m.Objects {
		if d, ok := x.Spec.(*networking.DestinationRule); ok && fullHost(d.GetHost(), x.Meta.Namespace) == host {
			m.destinationRule(b, x, d, labels)
		}
	}
	for _, x := range m.Objects {
		if v, ok := x.Spec.(*networking.VirtualService); ok && inMesh(v) {
			m.virtualService(b, x, v, host, labels)
		}
	}
}

// protocol tells what the mesh takes a port for: by appProtocol, else by the
// beginning of its name (Istio's protocol selection).
func protocol(p corev1.ServicePort) string {
	name := ""
	if p.AppProtocol != nil {
		name = *p.AppProtocol
	} else {
		name, _, _ = strings.Cut(p.Name, "-")
	}
	switch strings.ToLower(name) {
	case "http", "kubernetes.io/ws":
		return "HTTP"
	case "http2", "kubernetes.io/h2c":
		return "HTTP2"
	case "grpc":
		return "GRPC"
	case "grpc-web":
		return "GRPC-Web"
	case "https":
		return "HTTPS"
	case "tls":
		return "TLS"
	case "tcp":
		return "TCP"
	case "mongo", "mysql", "redis", "udp":
		return strings.ToUpper(name)
	}
	return "auto-detect"
}

// hostOf is the full name of a service.
func hostOf(o *api.Object) string { return o.Meta.Name + "." + o.Meta.Namespace + ".svc.cluster.local" }

// fullHost completes a short host as seen from a namespace.
func fullHost(host, namespace string) string {
	switch {
	case strings.Contains(host, "."):
		if strings.HasSuffix(host, ".svc") {
			return host + ".cluster.local"
		}
		return host
	case host == "" || strings.Contains(host, "*"):
		return host
	}
	return host + "." + namespace + ".svc.cluster.local"
}

func (m *Mesh) destinationRule(b *strings.Builder, o *api.Object, d *networking.DestinationRule, labels map[string]string) {
	fmt.Fprintf(b, "DestinationRule: %s for %q\n", m.nameOf(o), d.GetHost())
	var matching, others []string
	for _, s := range d.GetSubsets() {
		if labels == nil || subset(s.GetLabels(), labels) {
			matching = append(matching, s.GetName())
		} else {
			others = append(others, s.GetName())
		}
	}
	if len(d.GetSubsets()) > 0 && labels == nil {
		fmt.Fprintf(b, "   Subsets: %s\n", strings.Join(matching, ", "))
	} else if len(d.GetSubsets()) > 0 {
		fmt.Fprintf(b, "   Matching subsets: %s\n", cmp.Or(strings.Join(matching, ","), "none"))
		if len(others) > 0 {
			fmt.Fprintf(b, "      (Non-matching subsets %s)\n", strings.Join(others, ","))
		}
	}
	fmt.Fprintf(b, "   %s\n", policyText(d.GetTrafficPolicy()))
	m.warn(b, o)
}

func policyText(p *networking.TrafficPolicy) string {
	var parts []string
	if t := p.GetTls(); t != nil {
		parts = append(parts, "TLS Mode: "+t.GetMode().String())
	}
	if p.GetLoadBalancer() != nil {
		parts = append(parts, "load balancer")
	}
	if p.GetConnectionPool() != nil {
		parts = append(parts, "connection pool")
	}
	if p.GetOutlierDetection() != nil {
		parts = append(parts, "outlier detection")
	}
	if len(p.GetPortLevelSettings()) > 0 {
		parts = append(parts, "settings for ports")
	}
	if len(parts) == 0 {
		return "No Traffic Policy"
	}
	return "Traffic Policy " + strings.Join(parts, ", ")
}

// nameOf names an object as istioctl does: without the namespace default.
func (m *Mesh) nameOf(o *api.Object) string {
	if o.Meta.Namespace == "default" {
		return o.Meta.Name
	}
	return o.Meta.Name + "." + o.Meta.Namespace
}

// warn tells the control plane's verdicts on an object that are no praise.
func (m *Mesh) warn(b *strings.Builder, o *api.Object) {
	for _, s := range m.Verdicts[o.Ref()] {
		if !s.Code.Problem() {
			continue
		}
		path := ""
		if s.Path != "" {
			path = s.Path + ": "
		}
		fmt.Fprintf(b, "   WARNING: %s%s: %s\n", path, s.Code, s.Message)
	}
}

// mtls tells which mode of mutual TLS holds for a workload, and from where.
func (m *Mesh) mtls(b *strings.Builder, namespace string, labels map[string]string) {
	scope := func(o *api.Object, p *security.PeerAuthentication) int {
		selects := len(p.GetSelector().GetMatchLabels()) > 0
		switch {
		case selects && o.Meta.Namespace == namespace && subset(p.GetSelector().GetMatchLabels(), labels):
			return 3
		case !selects && o.Meta.Namespace == namespace:
			return 2
		case !selects && o.Meta.Namespace == m.RootNamespace:
			return 1
		}
		return 0
	}
	type policy struct {
		o     *api.Object
		p     *security.PeerAuthentication
		scope int
	}
	var applied []policy
	for _, o := range m.Objects {
		if p, ok := o.Spec.(*security.PeerAuthentication); ok {
			if s := scope(o, p); s > 0 {
				applied = append(applied, policy{o, p, s})
			}
		}
	}
	slices.SortStableFunc(applied, func(a, b policy) int {
		return cmp.Or(b.scope-a.scope, cmp.Compare(a.o.Meta.Created, b.o.Meta.Created))
	})
	mode, ports := "PERMISSIVE", map[uint32]string{}
	decided := false
	for _, p := range applied {
		if x := p.p.GetMtls().GetMode(); !decided && x != security.PeerAuthentication_MutualTLS_UNSET {
			mode, decided = x.String(), true
		}
		if p.scope == 3 {
			for n, x := range p.p.GetPortLevelMtls() {
				if _, ok := ports[n]; !ok && x.GetMode() != security.PeerAuthentication_MutualTLS_UNSET {
					ports[n] = x.GetMode().String()
				}
			}
		}
	}
	fmt.Fprintf(b, "%sEffective PeerAuthentication:\n   Workload mTLS mode: %s\n", separator, mode)
	var numbers []uint32
	for n := range ports {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers {
		fmt.Fprintf(b, "   Port Level mTLS mode: %d: %s\n", n, ports[n])
	}
	var names []string
	for _, p := range applied {
		names = append(names, p.o.Meta.Name+"."+p.o.Meta.Namespace)
	}
	if len(names) > 0 {
		fmt.Fprintf(b, "Applied PeerAuthentication:\n   %s\n", strings.Join(names, ", "))
	}
}

// authorization names the policies for a workload, and says where they do not act.
func (m *Mesh) authorization(b *strings.Builder, namespace string, labels map[string]string) {
	for _, o := range m.Objects {
		p, ok := o.Spec.(*security.AuthorizationPolicy)
		if !ok || o.Meta.Namespace != namespace && o.Meta.Namespace != m.RootNamespace || !subset(p.GetSelector().GetMatchLabels(), labels) {
			continue
		}
		fmt.Fprintf(b, "AuthorizationPolicy: %s.%s (%s)\n", o.Meta.Name, o.Meta.Namespace, p.GetAction())
		m.warn(b, o)
	}
}
