package inject

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"istio.io/api/label"
	admission "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// webhookSuffix ends the names of all webhooks that inject.
const webhookSuffix = "sidecar-injector.istio.io"

// Match is what the API server does with a pod and one webhook configuration.
type Match struct {
	Webhook  string // name of the MutatingWebhookConfiguration
	Revision string
	Injected bool
	Reason   string
}

// MatchWebhooks says for every configuration with webhooks of injectors whether it
// selects a pod with these labels, as the API server judges selectors, and why. The
// result is ordered by name.
func MatchWebhooks(configs []admission.MutatingWebhookConfiguration, ns Namespace, pod map[string]string) ([]Match, error) {
	nsLabels := maps.Clone(ns.Labels)
	if nsLabels == nil {
		nsLabels = map[string]string{}
	}
	if ns.Name != "" {
		nsLabels[corev1.LabelMetadataName] = ns.Name
	}
	var out []Match
	for i := range configs {
		c := &configs[i]
		hooks := slices.DeleteFunc(slices.Clone(c.Webhooks), func(w admission.MutatingWebhook) bool {
			return !strings.HasSuffix(w.Name, webhookSuffix)
		})
		if len(hooks) == 0 {
			continue
		}
		m, err := matchConfig(hooks, nsLabels, pod)
		if err != nil {
			return nil, fmt.Errorf("MutatingWebhookConfiguration %s: %w", c.Name, err)
		}
		m.Webhook, m.Revision = c.Name, c.Labels[label.IoIstioRev.Name]
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Match) int { return cmp.Compare(a.Webhook, b.Webhook) })
	return out, nil
}

// matchConfig judges the webhooks of one configuration: one that selects is enough.
func matchConfig(hooks []admission.MutatingWebhook, ns, pod map[string]string) (Match, error) {
	var refused, wantNS, wantPod []string
	for i := range hooks {
		byNS, nsWhy, err := judge(hooks[i].NamespaceSelector, ns)
		if err != nil {
			return Match{}, fmt.Errorf("%s: namespaceSelector: %w", hooks[i].Name, err)
		}
		byPod, podWhy, err := judge(hooks[i].ObjectSelector, pod)
		if err != nil {
			return Match{}, fmt.Errorf("%s: objectSelector: %w", hooks[i].Name, err)
		}
		wantNS = append(wantNS, wanted(hooks[i].NamespaceSelector)...)
		wantPod = append(wantPod, wanted(hooks[i].ObjectSelector)...)
		switch {
		case byNS && byPod:
			return Match{Injected: true, Reason: selected(nsWhy, podWhy)}, nil
		case byNS && podWhy != "":
			refused = append(refused, "Pod label "+podWhy+" prevents injection")
		case !byNS && byPod && nsWhy != "":
			refused = append(refused, "Namespace label "+nsWhy+" prevents injection")
		}
	}
	if len(refused) > 0 {
		return Match{Reason: refused[0]}, nil
	}
	return Match{Reason: fmt.Sprintf("No matching namespace labels (%s) or pod labels (%s)", unique(wantNS), unique(wantPod))}, nil
}

func selected(ns, pod string) string {
	switch {
	case ns != "" && pod != "":
		return "Namespace label " + ns + " matches, and pod label " + pod + " matches"
	case ns != "":
		return "Namespace label " + ns + " matches"
	case pod != "":
		return "Pod label " + pod + " matches"
	}
	return "Automatic injection is enabled for namespaces and pods without labels of their own"
}

// judge evaluates a selector. why is the label that made it match, or the one that
// keeps it from matching; "" if the absence of labels did.
func judge(s *metav1.LabelSelector, set map[string]string) (ok bool, why string, err error) {
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil || s == nil {
		return s == nil, "", err
	}
	ok = selector.Matches(labels.Set(set))
	for k, v := range s.MatchLabels {
		if ok == (set[k] == v) && (ok || isset(set, k)) {
			return ok, k + "=" + set[k], nil
		}
	}
	for _, e := range s.MatchExpressions {
		if !isset(set, e.Key) || e.Key == corev1.LabelMetadataName && ok {
			continue
		}
		in := slices.Contains(e.Values, set[e.Key])
		decisive := false
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			decisive = ok == in
		case metav1.LabelSelectorOpNotIn:
			decisive = !ok && in
		case metav1.LabelSelectorOpDoesNotExist:
			decisive = !ok
		case metav1.LabelSelectorOpExists:
			decisive = ok
		}
		if decisive {
			return ok, e.Key + "=" + set[e.Key], nil
		}
	}
	return ok, "", nil
}

// wanted lists the labels that a selector asks for.
func wanted(s *metav1.LabelSelector) []string {
	var out []string
	if s == nil {
		return nil
	}
	for k, v := range s.MatchLabels {
		out = append(out, k+"="+v)
	}
	for _, e := range s.MatchExpressions {
		if e.Operator == metav1.LabelSelectorOpIn {
			for _, v := range e.Values {
				out = append(out, e.Key+"="+v)
			}
		}
	}
	return out
}

func unique(list []string) string {
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}
