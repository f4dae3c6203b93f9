package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/lateen-mesh/lateen/internal/kube/apply"
)

// leastKubernetes is the oldest version of Kubernetes that Lateen is for: native
// sidecars and match conditions of webhooks are there from it on.
const leastKubernetes = "1.30.0"

// Level says how grave a finding is.
type Level string

// Levels, as analyze prints them.
const (
	LevelError   Level = "Error"
	LevelWarning Level = "Warning"
)

// Finding is something that stands in the way of an installation.
type Finding struct {
	Level   Level
	Object  string // what it is about, "Kind namespace/name"; "" for the cluster
	Message string
}

// String is one line, in the form of analyze.
func (f Finding) String() string {
	if f.Object == "" {
		return fmt.Sprintf("%s: %s", f.Level, f.Message)
	}
	return fmt.Sprintf("%s (%s): %s", f.Level, f.Object, f.Message)
}

// Precheck looks whether a plan can be installed, or an installation upgraded by
// it, and what would go wrong. It changes nothing. The error is for a cluster
// that cannot be asked.
func (in *Installer) Precheck(ctx context.Context, p *Plan) ([]Finding, error) {
	var all []Finding
	server, err := in.Cluster.Version()
	if err != nil {
		return nil, err
	}
	all = append(all, checkVersion(server)...)
	for _, check := range []func(context.Context, *Plan) ([]Finding, error){
		in.checkRights, in.checkOthers, in.checkDefinitions, in.checkRevisions,
	} {
		found, err := check(ctx, p)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if slices.ContainsFunc(all, func(f Finding) bool { return f.Level == LevelError }) {
		return all, nil // trying it would say the same again, in other words
	}
	return append(all, in.checkAdmission(ctx, p)...), nil
}

func checkVersion(server string) []Finding {
	v, err := version.ParseGeneric(server) // without what vendors add
	if err != nil {
		return []Finding{{LevelWarning, "", fmt.Sprintf("the API server's version %q cannot be read: %v", server, err)}}
	}
	if v.LessThan(version.MustParseGeneric(leastKubernetes)) {
		return []Finding{{LevelError, "", fmt.Sprintf("Kubernetes is %s, Lateen needs %s", server, leastKubernetes)}}
	}
	return nil
}

// checkRights asks whether the caller may make each kind of object.
func (in *Installer) checkRights(ctx context.Context, p *Plan) ([]Finding, error) {
	docs, err := p.Render(nil)
	if err != nil {
		return nil, err
	}
	type right struct {
		kind      schema.GroupVersionKind
		namespace string
	}
	asked := map[right]bool{}
	var found []Finding
	for _, d := range docs {
		r := right{d.Object.GroupVersionKind(), d.Object.GetNamespace()}
		if asked[r] {
			continue
		}
		asked[r] = true
		for _, verb := range []string{"create", "patch"} {
			ok, err := in.may(ctx, verb, r.kind, r.namespace)
			if err != nil {
				return nil, err
			}
			if !ok {
				found = append(found, Finding{LevelError, "", fmt.Sprintf("missing required permission to %s %s", verb, strings.TrimSpace(r.kind.GroupKind().String()+" "+r.namespace))})
			}
		}
	}
	return found, nil
}

// may asks the API server for the caller's right.
func (in *Installer) may(ctx context.Context, verb string, kind schema.GroupVersionKind, namespace string) (bool, error) {
	resource, err := in.Cluster.Resource(kind)
	if err != nil {
		return false, err
	}
	answer, err := in.Cluster.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
		"spec": map[string]any{"resourceAttributes": map[string]any{
			"verb": verb, "group": kind.Group, "resource": resource, "namespace": namespace,
		}},
	}})
	if err != nil {
		return false, err
	}
	allowed, _, _ := unstructured.NestedBool(answer.Object, "status", "allowed")
	return allowed, nil
}

// checkOthers looks for objects of the same names that somebody else has made.
func (in *Installer) checkOthers(ctx context.Context, p *Plan) ([]Finding, error) {
	docs, err := p.owned(nil)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, d := range docs {
		ref := apply.RefOf(d.Object)
		now, err := in.Cluster.Get(ctx, ref)
		if err != nil {
			return nil, err
		}
		if by := foreign(now); by != "" {
			found = append(found, Finding{LevelError, ref.String(), by})
		}
	}
	return found, nil
}

// checkDefinitions looks at kinds that somebody else has installed.
func (in *Installer) checkDefinitions(ctx context.Context, _ *Plan) ([]Finding, error) {
	names, err := Definitions()
	if err != nil {
		return nil, err
	}
	var found []Finding
	for _, name := range names {
		ref := apply.Ref{Kind: kindDefinition, Name: name}
		now, err := in.Cluster.Get(ctx, ref)
		if err != nil {
			return nil, err
		}
		if now == nil {
			continue
		}
		if lacking := lackingVersions(now, name); len(lacking) > 0 {
			found = append(found, Finding{LevelWarning, ref.String(), fmt.Sprintf("it does not serve %s, which Lateen reads: upgrade it", strings.Join(lacking, ", "))})
		}
	}
	return found, nil
}

// checkRevisions looks for namespaces whose revision nobody serves: their pods
// get no sidecar.
func (in *Installer) checkRevisions(ctx context.Context, p *Plan) ([]Finding, error) {
	hooks, err := in.Cluster.List(ctx, kindMutating, "", "app=sidecar-injector")
	if err != nil {
		return nil, err
	}
	served := map[string]bool{revisionLabel(p.Revision): true}
	for i := range hooks {
		served[hooks[i].GetLabels()[labelRevision]] = true
		served[hooks[i].GetLabels()[labelTag]] = true
	}
	namespaces, err := in.Cluster.List(ctx, kindNamespace, "", labelRevision)
	if err != nil {
		return nil, err
	}
	var found []Finding
	for i := range namespaces {
		if rev := namespaces[i].GetLabels()[labelRevision]; !served[rev] {
			found = append(found, Finding{LevelWarning, "Namespace " + namespaces[i].GetName(), fmt.Sprintf("no control plane serves its label %s=%s", labelRevision, rev)})
		}
	}
	return found, nil
}

// checkAdmission lets the API server try every object: policies of the cluster
// may refuse what its schema allows.
func (in *Installer) checkAdmission(ctx context.Context, p *Plan) []Finding {
	var found []Finding
	for _, c := range p.Components {
		try := &Installer{Cluster: in.Cluster, DryRun: true, Say: func(string) {}}
		if err := try.component(ctx, p, c); err != nil && !apply.IsMissingNamespace(err) {
			found = append(found, Finding{LevelError, "", fmt.Sprintf("the cluster would refuse %s: %v", c.Title, err)})
		}
	}
	return found
}
