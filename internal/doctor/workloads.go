package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/push"
)

// most bounds how many objects one finding names.
const most = 5

// few joins the first names of a list.
func few(names []string) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// system tells the namespaces that no mesh touches.
func system(name string) bool {
	return name == "kube-system" || name == "kube-public" || name == "kube-node-lease"
}

// roots looks whether every namespace with proxies has the root of trust.
func (d *Doctor) roots(_ context.Context, s *seen) []Result {
	own := s.roots[d.Client.Namespace()]
	using := map[string]bool{}
	for _, p := range s.pods {
		if proxied(&p) && !over(&p) && d.ours(&p) {
			using[p.Namespace] = true
		}
	}
	var missing, other []string
	for ns := range using {
		switch root, ok := s.roots[ns]; {
		case !ok:
			missing = append(missing, ns)
		case root != own:
			other = append(other, ns)
		}
	}
	slices.Sort(missing)
	slices.Sort(other)
	var out []Result
	if len(missing) > 0 {
		out = append(out, one(Failed, "the control plane's leader writes it; look at its log, and at discoverySelectors", "no ConfigMap %s in %s: proxies cannot start there", rootMap, few(missing)))
	}
	if len(other) > 0 {
		out = append(out, one(Failed, "if another control plane serves these, name it with -i and --revision", "the ConfigMap %s in %s holds another root than %s", rootMap, few(other), d.Client.Namespace()))
	}
	return unless(out, "%d namespaces with proxies have the root of trust", len(using))
}

// ours tells whether a pod's proxy is of the control plane that is examined. The
// injector notes its revision in the pod's status annotation.
func (d *Doctor) ours(p *corev1.Pod) bool {
	return d.Revision == "" || strings.Contains(p.Annotations["sidecar.istio.io/status"], `"revision":"`+d.Revision+`"`)
}

// namespaces looks for labels that contradict each other, or lead nowhere.
func (d *Doctor) namespaces(_ context.Context, s *seen) []Result {
	revisions := map[string]bool{}
	for _, c := range s.mutating {
		if rev := c.Labels[revisionLabel]; rev != "" {
			revisions[rev] = true
		}
		if tag := c.Labels["istio.io/tag"]; tag != "" {
			revisions[tag] = true
		}
	}
	var out []Result
	enabled := 0
	for _, ns := range s.namespaces {
		inject, rev := ns.Labels["istio-injection"], ns.Labels[revisionLabel]
		switch {
		case inject != "" && rev != "":
			out = append(out, one(Warning, "kubectl label namespace "+ns.Name+" istio-injection-", "the namespace %s has the labels istio-injection and %s: the first wins", ns.Name, revisionLabel))
		case rev != "" && !revisions[rev]:
			out = append(out, one(Failed, "`lateen tag list` shows what there is", "the namespace %s asks for the revision %q, which nobody serves: its pods get no proxy", ns.Name, rev))
		case inject != "" && inject != "enabled" && inject != "disabled":
			out = append(out, one(Warning, "use enabled or disabled", "the namespace %s has istio-injection=%s, which means nothing", ns.Name, inject))
		case system(ns.Name) && inject == "enabled":
			out = append(out, one(Warning, "kubectl label namespace "+ns.Name+" istio-injection-", "the namespace %s is never injected", ns.Name))
		case inject == "enabled" || rev != "":
			enabled++
		}
	}
	return unless(out, "%d namespaces ask for injection", enabled)
}

// sidecars looks for pods that should have a proxy and have none.
func (d *Doctor) sidecars(_ context.Context, s *seen) []Result {
	wants := map[string]bool{}
	for _, ns := range s.namespaces {
		wants[ns.Name] = !system(ns.Name) && (ns.Labels["istio-injection"] == "enabled" || ns.Labels["istio-injection"] == "" && ns.Labels[revisionLabel] != "")
	}
	bare := map[string][]string{}
	count := 0
	for _, p := range s.pods {
		choice := p.Labels["sidecar.istio.io/inject"]
		if choice == "" {
			choice = p.Annotations["sidecar.istio.io/inject"]
		}
		switch {
		case over(&p) || p.Spec.HostNetwork || choice == "false" || p.Namespace == d.Client.Namespace():
		case proxied(&p):
			count++
		case wants[p.Namespace] || choice == "true":
			bare[p.Namespace] = append(bare[p.Namespace], p.Name)
		}
	}
	var out []Result
	for _, ns := range s.namespaces {
		if list := bare[ns.Name]; len(list) > 0 {
			out = append(out, one(Warning, fmt.Sprintf("restart them (kubectl -n %s rollout restart deploy); `lateen check-inject %s.%s` says why they have none", ns.Name, list[0], ns.Name),
				"pods in %s have no proxy and should: %s", ns.Name, few(list)))
		}
	}
	return unless(out, "%d pods have a proxy, and none lacks one", count)
}

// proxies holds the pods with proxies against those that are connected, and these
// against what they should have.
func (d *Doctor) proxies(ctx context.Context, s *seen) []Result {
	list, replicas, err := d.Proxies(ctx)
	if err != nil {
		return []Result{one(Failed, "the checks above may say why", "the control plane cannot be asked: %v", err)}
	}
	var out []Result
	connected := map[string]bool{}
	for _, p := range list {
		connected[p.Name] = true
		for _, text := range p.Refusals {
			out = append(out, one(Failed, "`lateen status` names the object; the proxy keeps what it had", "%s refuses its configuration: %s", p.Name, text))
		}
		if t := behind(p); t != "" && len(p.Refusals) == 0 {
			out = append(out, one(Warning, "`lateen proxy-status "+p.Name+"` shows what it lacks", "%s has not taken its configuration: %s", p.Name, t))
		}
	}
	for _, p := range s.pods {
		if proxied(&p) && ready(&p) && !over(&p) && d.ours(&p) && !connected[p.Name+"."+p.Namespace] && d.injectedHere(s, &p) {
			out = append(out, one(Warning, "kubectl -n "+p.Namespace+" logs "+p.Name+" -c "+proxyName, "the proxy of %s.%s is not connected: it runs on its last configuration", p.Name, p.Namespace))
		}
	}
	return unless(out, "%d proxies at %d replicas have what they should have", len(list), replicas)
}

// injectedHere tells whether a pod is of a control plane in the system namespace.
func (d *Doctor) injectedHere(s *seen, p *corev1.Pod) bool {
	for _, plane := range s.planes {
		if strings.Contains(p.Annotations["sidecar.istio.io/status"], `"revision":"`+plane.Labels[revisionLabel]+`"`) {
			return true
		}
	}
	return false
}

// behind tells what a proxy has been sent and not answered.
func behind(p push.ProxyStatus) string {
	var types []string
	for name, t := range p.Types {
		if t.State == push.Stale {
			types = append(types, name)
		}
	}
	slices.Sort(types)
	if len(types) == 0 {
		return ""
	}
	return "no answer yet to " + strings.Join(types, ", ")
}

// reserved are the proxy's own ports in a pod.
var reserved = []int32{15000, 15001, 15006, 15020, 15021, 15053, 15090}

// ports looks for applications at ports that the proxy takes.
func (d *Doctor) ports(_ context.Context, s *seen) []Result {
	var out []Result
	for _, p := range s.pods {
		if !proxied(&p) || over(&p) {
			continue
		}
		for _, c := range p.Spec.Containers {
			for _, port := range c.Ports {
				if c.Name != proxyName && slices.Contains(reserved, port.ContainerPort) {
					out = append(out, one(Failed, "let the application listen elsewhere", "the container %s of %s.%s declares the port %d, which is the proxy's", c.Name, p.Name, p.Namespace, port.ContainerPort))
				}
			}
		}
	}
	return unless(out, "no application declares a port of the proxy's")
}

// skew reads the nodes' clocks from the leases that kubelets renew.
func (d *Doctor) skew(ctx context.Context) (ahead, behind []string, err error) {
	list, err := d.Client.Typed().CoordinationV1().Leases("kube-node-lease").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, nil, err
	}
	if len(list.Items) == 0 {
		return nil, nil, errNoLeases
	}
	for _, l := range list.Items {
		if l.Spec.RenewTime == nil {
			continue
		}
		switch by := l.Spec.RenewTime.Sub(d.Now()); {
		case by > maxAhead:
			ahead = append(ahead, describeSkew(l.Name, by))
		case by < -maxBehind:
			behind = append(behind, describeSkew(l.Name, by))
		}
	}
	return ahead, behind, nil
}
