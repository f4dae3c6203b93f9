package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/kube/apply"
)

// Removal says what Uninstall takes away.
type Removal struct {
	Namespace string // the system namespace
	// Revision removes one control plane and what is its own; Purge everything of
	// Lateen in the cluster, secrets and kinds with the users' objects included.
	// One of both is required.
	Revision string
	Purge    bool
}

// Remove lists the objects that a removal takes away, in the order in which they
// go. What Helm keeps is listed as kept.
func (in *Installer) Remove(ctx context.Context, r Removal) (gone, kept []apply.Ref, err error) {
	if !r.Purge && r.Revision == "" {
		return nil, nil, errors.New("either a revision or purge is required")
	}
	seen := map[apply.Ref]bool{}
	collect := func(o *unstructured.Unstructured) {
		ref := apply.RefOf(o)
		if seen[ref] {
			return
		}
		seen[ref] = true
		if o.GetAnnotations()[helmRelease] != "" {
			kept = append(kept, ref)
		} else {
			gone = append(gone, ref)
		}
	}
	for _, kind := range kinds {
		if kind == kindDefinition && !r.Purge {
			continue
		}
		list, err := in.Cluster.List(ctx, kind, "", r.selector(kind))
		if err != nil {
			return nil, nil, err
		}
		for i := range list {
			if r.covers(&list[i]) {
				collect(&list[i])
			}
		}
	}
	made, err := in.madeByControlPlane(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	for i := range made {
		collect(&made[i])
	}
	return gone, kept, nil
}

// selector finds what an installation made of a kind.
func (r Removal) selector(kind schema.GroupVersionKind) string {
	all := labelPartOf + "=" + partOf
	if kind == kindDefinition || r.Purge {
		return all
	}
	return all + "," + labelRevision + "=" + revisionLabel(r.Revision)
}

// covers tells whether an object is of the installation that is removed, and not of
// one of the same revision in another namespace. What Helm keeps does not say.
func (r Removal) covers(o *unstructured.Unstructured) bool {
	system := o.GetLabels()[labelSystem]
	return r.Purge || system == "" || system == r.Namespace
}

// leftover is a kind of object that the control plane makes while it runs.
type leftover struct {
	kind       schema.GroupVersionKind
	name       string // each revision but the default one adds "-REVISION" unless shared
	shared     bool   // by all revisions: it goes with the last one
	secret     bool   // it goes with Purge only
	everywhere bool   // in every namespace, not only in the system's
}

var leftovers = []leftover{
	{kind: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, name: "istio-ca-root-cert", shared: true, everywhere: true},
	{kind: schema.GroupVersionKind{Version: "v1", Kind: "Secret"}, name: "istio-ca-secret", shared: true, secret: true},
	{kind: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}, name: "lateen-prior"},
	{kind: schema.GroupVersionKind{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"}, name: "lateen-leader"},
	{kind: schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "GatewayClass"}, name: "lateen", shared: true},
	{kind: schema.GroupVersionKind{Group: "gateway.networking.k8s.io", Version: "v1", Kind: "GatewayClass"}, name: "istio", shared: true},
}

// matches tells whether an object of the kind is meant by a removal.
func (l leftover) matches(o *unstructured.Unstructured, r Removal) bool {
	name := o.GetName()
	switch {
	case !byControlPlane(o):
		return false
	case l.shared:
		return name == l.name
	case r.Purge:
		return name == l.name || strings.HasPrefix(name, l.name+"-")
	case revisionLabel(r.Revision) == "default":
		return name == l.name
	}
	return name == l.name+"-"+r.Revision
}

// byControlPlane tells by the field managers whether Lateen has made an object:
// Istio's control plane makes some of the same name.
func byControlPlane(o *unstructured.Unstructured) bool {
	for _, f := range o.GetManagedFields() {
		if f.Manager == apply.Manager || strings.HasPrefix(f.Manager, apply.Manager+"-") {
			return true
		}
	}
	return false
}

// madeByControlPlane gives the objects that no chart has made and that nobody
// else will remove. The last control plane's are all of them.
func (in *Installer) madeByControlPlane(ctx context.Context, r Removal) ([]unstructured.Unstructured, error) {
	last := r.Purge
	if !last {
		others, err := in.otherRevisions(ctx, r.Revision)
		if err != nil {
			return nil, err
		}
		last = !others
	}
	var all []unstructured.Unstructured
	for _, l := range leftovers {
		if l.shared && !last || l.secret && !r.Purge {
			continue
		}
		namespace := r.Namespace
		if l.everywhere {
			namespace = ""
		}
		list, err := in.Cluster.List(ctx, l.kind, namespace, "")
		if err != nil {
			return nil, err
		}
		for i := range list {
			if l.matches(&list[i], r) {
				all = append(all, list[i])
			}
		}
	}
	if !last {
		return all, nil
	}
	gateways, err := in.deployedGateways(ctx)
	return append(all, gateways...), err
}

// labelGateway is on everything that the controller of the Gateway API's gateways
// makes: it names the Gateway.
const labelGateway = "gateway.networking.k8s.io/gateway-name"

// deployedGateways are the objects of gateways that the control plane has made for
// Gateway objects. Nobody would keep them up to date any more.
func (in *Installer) deployedGateways(ctx context.Context) ([]unstructured.Unstructured, error) {
	var all []unstructured.Unstructured
	for _, kind := range kinds {
		if kind == kindDefinition {
			continue
		}
		list, err := in.Cluster.List(ctx, kind, "", labelGateway)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if byControlPlane(&list[i]) {
				all = append(all, list[i])
			}
		}
	}
	return all, nil
}

// otherRevisions tells whether a control plane of another revision is installed.
func (in *Installer) otherRevisions(ctx context.Context, revision string) (bool, error) {
	list, err := in.Cluster.List(ctx, schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, "",
		fmt.Sprintf("app=istiod,%s=%s,%s!=%s", labelPartOf, partOf, labelRevision, revisionLabel(revision)))
	return len(list) > 0, err
}

// Uninstall takes away what Remove lists. First what runs, and it waits until
// that has ended: a control plane makes its objects anew as long as it lives.
func (in *Installer) Uninstall(ctx context.Context, r Removal) error {
	running, _, err := in.Remove(ctx, r)
	if err != nil {
		return err
	}
	running = slices.DeleteFunc(running, func(ref apply.Ref) bool { return !runs(ref) })
	if err := in.remove(ctx, running); err != nil {
		return err
	}
	rest, _, err := in.Remove(ctx, r)
	if err != nil {
		return err
	}
	return in.remove(ctx, rest)
}

// runs tells whether an object has pods, or lets the API server wait for them.
func runs(ref apply.Ref) bool {
	switch ref.Kind.Kind {
	case "Deployment", "DaemonSet", "HorizontalPodAutoscaler":
		return true
	}
	return ref.Kind.Group == kindMutating.Group
}

// remove deletes objects in their order and waits until they are gone.
func (in *Installer) remove(ctx context.Context, refs []apply.Ref) error {
	for _, ref := range refs {
		there, err := in.Cluster.Delete(ctx, ref)
		if err != nil {
			return err
		}
		if there {
			in.Say("  Removed " + ref.Kind.GroupKind().String() + ":" + ref.Namespace + ":" + ref.Name + ".")
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("no success in 2m"))
	defer cancel()
	return in.Cluster.WaitGone(ctx, refs)
}
