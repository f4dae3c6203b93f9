package kube

import (
	"cmp"
	"strings"

	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/registry"
)

// legacyLocality is the older form of the label label.TopologyLocality.
const legacyLocality = "istio-locality"

// nodeKind holds where each node is, and nothing else of it: the metadata alone is
// watched, which does not change with every heartbeat.
func (c *Client) nodeKind() kind[registry.Locality] {
	return metadataKind(c, kind[registry.Locality]{
		name: "nodes",
		keep: func(_ registry.Locality, object any) (registry.Locality, bool) {
			in, ok := object.(*metav1.PartialObjectMetadata)
			if !ok {
				return registry.Locality{}, false
			}
			return nodeLocality(in.Labels), true
		},
		same: func(a, b registry.Locality) bool { return a == b },
	}, corev1.SchemeGroupVersion.WithResource("nodes"), "")
}

// nodeLocality reads a node's labels; the two of the failure domain are those of
// Kubernetes before 1.17.
func nodeLocality(labels map[string]string) registry.Locality {
	return registry.Locality{
		Region:  cmp.Or(labels[corev1.LabelTopologyRegion], labels[corev1.LabelFailureDomainBetaRegion]),
		Zone:    cmp.Or(labels[corev1.LabelTopologyZone], labels[corev1.LabelFailureDomainBetaZone]),
		Subzone: labels[label.TopologySubzone.Name],
	}
}

// localityLabel reads the locality that a pod gives itself: "region/zone/subzone",
// with dots for slashes, which labels do not allow.
func localityLabel(labels, annotations map[string]string) registry.Locality {
	text := cmp.Or(labels[label.TopologyLocality.Name], annotations[label.TopologyLocality.Name], labels[legacyLocality], annotations[legacyLocality])
	if !strings.Contains(text, "/") {
		text = strings.ReplaceAll(text, ".", "/")
	}
	parts := strings.SplitN(text, "/", 3)
	parts = append(parts, "", "")
	return registry.Locality{Region: parts[0], Zone: parts[1], Subzone: parts[2]}
}
