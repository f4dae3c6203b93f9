package kube

import (
	"fmt"

	meshconfig "istio.io/api/mesh/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// systemNamespaces are Kubernetes' own; the mesh writes nothing there.
var systemNamespaces = map[string]bool{"kube-system": true, "kube-public": true, "kube-node-lease": true}

// selection tells which namespaces the mesh sees (MeshConfig.discoverySelectors):
// those with labels that any of the selectors takes, all where there is none, and
// the system namespace in any case, since mesh-wide policies lie there.
type selection struct {
	system    string
	selectors []labels.Selector
	bad       error // a selector that cannot be read; it selects nothing
}

func selectionOf(m *meshconfig.MeshConfig, system string) selection {
	s := selection{system: system}
	for i, in := range m.GetDiscoverySelectors() {
		selector := &metav1.LabelSelector{MatchLabels: in.GetMatchLabels()}
		for _, e := range in.GetMatchExpressions() {
			selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{
				Key: e.GetKey(), Operator: metav1.LabelSelectorOperator(e.GetOperator()), Values: e.GetValues(),
			})
		}
		compiled, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil {
			s.bad = fmt.Errorf("discoverySelectors[%d]: %w", i, err)
			compiled = labels.Nothing()
		}
		s.selectors = append(s.selectors, compiled)
	}
	return s
}

// takes reports whether a namespace with the labels is seen.
func (s *selection) takes(name string, of map[string]string) bool {
	if len(s.selectors) == 0 || name == s.system {
		return true
	}
	for _, selector := range s.selectors {
		if selector.Matches(labels.Set(of)) {
			return true
		}
	}
	return false
}

// names lists who is seen: nil where all are, those too that are not known yet.
func (s *selection) names(namespaces *table[*item]) map[string]bool {
	if len(s.selectors) == 0 {
		return nil
	}
	out := map[string]bool{s.system: true}
	namespaces.each(func(name string, i *item) {
		if s.takes(name, i.labels) {
			out[name] = true
		}
	})
	return out
}
