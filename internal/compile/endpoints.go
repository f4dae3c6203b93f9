package compile

import (
	"cmp"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
)

// clusterID is the name of the one cluster that the mesh has.
const clusterID = "Kubernetes"

// Endpoints compiles the endpoints of one cluster as the proxy node sees it, for
// changes of workloads that change nothing else. The result is the same as the
// cluster's entry in ir.Proxy.Assignments. ok is false where the cluster does not
// exist.
func Endpoints(snap *mesh.Snapshot, node Node, key ir.Key) (a ir.Assignment, ok bool) {
	h, ok := snap.HostFor(mesh.Caller{Namespace: node.Namespace}, key.Host)
	if !ok || key.Direction != ir.OutboundTo {
		return ir.Assignment{}, false
	}
	for _, a := range NewView(snap, node, nil).part(h, OfEndpoints).Assignments {
		if a.Cluster == key {
			return a, true
		}
	}
	return ir.Assignment{}, false
}

// assignment groups a port's endpoints with the labels by locality, and by the order
// in which the caller calls them.
func (c *compiler) assignment(h *mesh.Host, p *mesh.Port, placing *placing, key ir.Key, labels map[string]string) ir.Assignment {
	type place struct {
		registry.Locality
		rank uint32
	}
	out := ir.Assignment{Cluster: key}
	byPlace := map[place]int{}
	list := c.snap.Endpoints(h, p)
	for i := range list {
		e := &list[i]
		if !registry.Matches(labels, e.Workload.Labels) {
			continue
		}
		l := place{e.Workload.Locality, placing.rank(e.Workload)}
		at, ok := byPlace[l]
		if !ok {
			at = len(out.Localities)
			byPlace[l] = at
			out.Localities = append(out.Localities, ir.LocalityEndpoints{Region: l.Region, Zone: l.Zone, Subzone: l.Subzone, Priority: l.rank})
		}
		out.Localities[at].Endpoints = append(out.Localities[at].Endpoints, ir.Endpoint{
			Addr: e.Addr, Name: e.Name, Weight: e.Workload.Weight, MeshTLS: c.takesMeshTLS(e), Label: workloadLabel(e.Workload),
		})
	}
	out.Localities = placing.distribute(out.Localities)
	closeGaps(out.Localities)
	slices.SortFunc(out.Localities, func(a, b ir.LocalityEndpoints) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.Subzone, b.Subzone))
	})
	for i := range out.Localities {
		slices.SortFunc(out.Localities[i].Endpoints, func(a, b ir.Endpoint) int {
			return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Label, b.Label))
		})
	}
	return out
}

// takesMeshTLS reports whether an endpoint can be called with mesh TLS: a proxy
// stands before it that does not turn it off for the port.
func (c *compiler) takesMeshTLS(e *registry.Endpoint) bool {
	if !e.Workload.Proxied {
		return false
	}
	mtls := c.snap.MTLS(e.Workload.Namespace, e.Workload.Labels)
	return mtls.At(e.Addr.Port()) != mesh.Disable
}

// workloadLabel is Istio's label of an endpoint in telemetry.
func workloadLabel(w *registry.Workload) string {
	name := cmp.Or(w.Labels["service.istio.io/canonical-name"], w.Labels["app.kubernetes.io/name"], w.Labels["app"], w.Owner, w.Name)
	revision := cmp.Or(w.Labels["service.istio.io/canonical-revision"], w.Labels["app.kubernetes.io/version"], w.Labels["version"])
	if revision == "" && !w.Outside {
		revision = "latest"
	}
	return strings.Join([]string{cmp.Or(w.Owner, w.Name), w.Namespace, name, revision, clusterID}, ";")
}
