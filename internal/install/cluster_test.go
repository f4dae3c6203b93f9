package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/kube/apply"
	"github.com/lateen-mesh/lateen/internal/testkit/apiserver"
)

// bed is a real API server without controllers: what is applied is kept, nothing
// runs.
type bed struct {
	*Installer
	t      *testing.T
	server *apiserver.Server
	client *kube.Client
	lines  []string
}

func newBed(t *testing.T) *bed {
	t.Helper()
	server := apiserver.Start(t)
	client, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: server.Kubeconfig})
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, server: server, client: client}
	b.Installer = &Installer{Cluster: apply.New(client), Say: func(line string) { b.lines = append(b.lines, line) }}
	return b
}

func (b *bed) apply(r Request) {
	b.t.Helper()
	if err := b.Apply(b.t.Context(), plan(b.t, r)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) get(kind schema.GroupVersionKind, namespace, name string) *unstructured.Unstructured {
	b.t.Helper()
	o, err := b.Cluster.Get(b.t.Context(), apply.Ref{Kind: kind, Namespace: namespace, Name: name})
	if err != nil {
		b.t.Fatal(err)
	}
	return o
}

// said tells whether a line of progress contains all words.
func (b *bed) said(words ...string) bool {
	return slices.ContainsFunc(b.lines, func(line string) bool {
		return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(line, w) })
	})
}

// inventory lists everything that an installation could touch.
func (b *bed) inventory() []string {
	b.t.Helper()
	var all []string
	more := []schema.GroupVersionKind{{Version: "v1", Kind: "Secret"}, {Version: "v1", Kind: "Pod"}, {Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"}}
	for _, kind := range append(slices.Clone(kinds), more...) {
		list, err := b.Cluster.List(b.t.Context(), kind, "", "")
		if err != nil {
			b.t.Fatal(err)
		}
		for i := range list {
			if kind.Kind == "Lease" && list[i].GetNamespace() == "kube-system" {
				continue // the API server's own
			}
			all = append(all, apply.RefOf(&list[i]).String())
		}
	}
	slices.Sort(all)
	return all
}

// collectGarbage does what the controller of that name does: it lets objects go
// that are deleted in the foreground.
func (b *bed) collectGarbage() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(b.t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			for _, kind := range []string{"Deployment", "DaemonSet"} {
				list, err := b.Cluster.List(ctx, schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: kind}, "", "")
				for i := range list {
					if err == nil && list[i].GetDeletionTimestamp() != nil {
						list[i].SetFinalizers(nil)
						if err := b.Cluster.Replace(ctx, &list[i]); err != nil && ctx.Err() == nil {
							b.t.Log(err) // it may be gone already
						}
					}
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	b.t.Cleanup(func() { cancel(); <-done })
}

func (b *bed) helm(args ...string) (string, error) {
	dir := b.t.TempDir()
	cmd := exec.Command(helm(b.t), append(args, "--kubeconfig", b.server.Kubeconfig, "--namespace", DefaultNamespace)...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_DATA_HOME="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestOnAPIServer runs the cases below on one API server, which takes long to start.
func TestOnAPIServer(t *testing.T) {
	b := newBed(t)
	b.collectGarbage()
	for _, c := range []struct {
		name string
		run  func(*testing.T, *bed)
	}{
		{"install and uninstall", testInstallAndUninstall}, {"tags", testTags}, {"foreign objects", testForeignObjects}, {"helm", testHelm},
	} {
		t.Run(c.name, func(t *testing.T) {
			sub := &bed{Installer: &Installer{Cluster: b.Cluster}, t: t, server: b.server, client: b.client}
			sub.Say = func(line string) { sub.lines = append(sub.lines, line) }
			c.run(t, sub)
			sub.wipe()
		})
	}
}

// wipe removes what a case has left.
func (b *bed) wipe() {
	b.t.Helper()
	ctx := b.t.Context()
	if err := b.Uninstall(ctx, Removal{Namespace: DefaultNamespace, Purge: true}); err != nil {
		b.t.Fatal(err)
	}
	names, err := Definitions()
	if err != nil {
		b.t.Fatal(err)
	}
	var refs []apply.Ref
	for _, name := range names {
		refs = append(refs, apply.Ref{Kind: kindDefinition, Name: name})
	}
	if err := b.remove(ctx, refs); err != nil {
		b.t.Fatal(err)
	}
	b.Cluster.Forget()
}

// testInstallAndUninstall: every object is accepted by a real API server, doing it
// again changes nothing, and after uninstall the cluster is as before.
func testInstallAndUninstall(t *testing.T, b *bed) {
	ctx := t.Context()
	if found, err := b.Precheck(ctx, plan(t, Request{})); err != nil || len(found) > 0 {
		t.Errorf("precheck of an empty cluster: %v %v", found, err)
	}
	before := b.inventory()
	if _, err := b.Installed(ctx, plan(t, Request{})); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("installed before it is: %v", err)
	}
	r := Request{Set: []string{"components.cni.enabled=true", "components.egressGateways[0].enabled=true"}}
	b.apply(r)
	if n := len(b.inventory()) - len(before); n < 45 {
		t.Errorf("only %d objects were made", n)
	}
	differences, err := b.Diff(ctx, plan(t, r))
	if err != nil || len(differences) > 0 {
		t.Errorf("the second time would change %v, %v", differences, err)
	}
	differences, err = b.Diff(ctx, plan(t, Request{Set: append(r.Set, "meshConfig.accessLogFile=/dev/stdout")}))
	if err != nil || len(differences) != 1 || !strings.Contains(differences[0].Text, "+    accessLogFile: /dev/stdout") {
		t.Errorf("a changed setting would change %v, %v", differences, err)
	}
	// What is not part of the settings any more goes, and is announced before.
	differences, err = b.Diff(ctx, plan(t, Request{}))
	if err != nil || !slices.ContainsFunc(differences, func(d Difference) bool { return d.Removed && d.Ref.Name == "istio-egressgateway" }) {
		t.Errorf("a component that is switched off: %v, %v", differences, err)
	}
	b.apply(Request{})
	if !b.said("removed", "DaemonSet "+DefaultNamespace+"/istio-cni-node") || !b.said("removed", "Deployment "+DefaultNamespace+"/istio-egressgateway") {
		t.Errorf("components that are switched off stay: %q", b.lines)
	}
	b.controlPlaneLives()
	if err := b.Uninstall(ctx, Removal{Namespace: DefaultNamespace, Purge: true}); err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(before, b.inventory()); diff != "" {
		t.Errorf("uninstall leaves: -before +after:\n%s", diff)
	}
}

// controlPlaneLives makes what a control plane makes while it runs.
func (b *bed) controlPlaneLives() {
	b.t.Helper()
	for _, o := range []map[string]any{
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "istio-ca-root-cert", "namespace": "default"}, "data": map[string]any{"root-cert.pem": "x"}},
		{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "lateen-prior", "namespace": DefaultNamespace}, "data": map[string]any{"x": "y"}},
		{"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "istio-ca-secret", "namespace": DefaultNamespace}},
		{"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": map[string]any{"name": "lateen-leader", "namespace": DefaultNamespace}, "spec": map[string]any{"holderIdentity": "x"}},
		{"apiVersion": "v1", "kind": "ServiceAccount", "metadata": map[string]any{"name": "edge-lateen", "namespace": "default", "labels": map[string]any{labelGateway: "edge"}}},
	} {
		if _, err := b.Cluster.Create(b.t.Context(), &unstructured.Unstructured{Object: o}); err != nil {
			b.t.Fatal(err)
		}
	}
}

// testForeignObjects: an installation of Istio is not taken over, and its kinds
// are used as they are.
func testForeignObjects(t *testing.T, b *bed) {
	ctx := t.Context()
	gateways, err := definition("gateways.networking.istio.io")
	if err != nil {
		t.Fatal(err)
	}
	foreigners := func() { // somebody else cleans up
		injector := b.get(kindMutating, "", "istio-sidecar-injector")
		injector.SetLabels(map[string]string{labelPartOf: partOf})
		if err := b.Cluster.Replace(ctx, injector); err != nil {
			t.Error(err)
		}
	}
	theirs := gateways.DeepCopy()
	theirs.SetLabels(map[string]string{"app": "istio-pilot"})
	list, _, err := unstructured.NestedSlice(theirs.Object, "spec", "versions")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list { // an old one: v1 is not served
		if m := v.(map[string]any); m["name"] == "v1" {
			m["served"] = false
		}
	}
	if err := unstructured.SetNestedSlice(theirs.Object, list, "spec", "versions"); err != nil {
		t.Fatal(err)
	}
	newer, err := definition("sidecars.networking.istio.io")
	if err != nil {
		t.Fatal(err)
	}
	newer.SetLabels(map[string]string{labelPartOf: partOf, labelVersion: "99.0.0"})
	for _, o := range []*unstructured.Unstructured{theirs, newer} {
		if _, err := b.Cluster.Create(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	b.apply(Request{Profile: "minimal"})
	if !b.said("gateways.networking.istio.io", "somebody else", "v1") {
		t.Errorf("it does not say whose kind this is and what it lacks: %q", b.lines)
	}
	if !b.said("sidecars.networking.istio.io", "99.0.0", "left as it is") {
		t.Errorf("it does not say that a newer kind stays: %q", b.lines)
	}
	if got := b.get(kindDefinition, "", "gateways.networking.istio.io"); got.GetLabels()[labelPartOf] != "" {
		t.Error("somebody's kind was taken over")
	}
	found, err := b.Precheck(ctx, plan(t, Request{Profile: "minimal"}))
	if err != nil || !slices.ContainsFunc(found, func(f Finding) bool { return strings.Contains(f.Message, "does not serve v1") }) {
		t.Errorf("precheck: %v %v", found, err)
	}

	// Another revision beside Istio's own control plane is possible, the same is not.
	injector := b.get(kindMutating, "", "istio-sidecar-injector")
	injector.SetLabels(map[string]string{"app": "sidecar-injector"})
	if err := b.Cluster.Replace(ctx, injector); err != nil {
		t.Fatal(err)
	}
	err = b.Apply(ctx, plan(t, Request{Profile: "minimal"}))
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "istio-sidecar-injector") {
		t.Errorf("it takes Istio's webhook over: %v", err)
	}
	b.apply(Request{Profile: "minimal", Revision: "lateen"})
	foreigners()
}

// testTags walks a canary upgrade.
func testTags(t *testing.T, b *bed) {
	ctx := t.Context()
	b.apply(Request{Profile: "minimal"})
	b.apply(Request{Profile: "minimal", Revision: "canary"})
	answers := func() string { // which configurations answer for namespaces that name no revision
		list, err := b.Cluster.List(ctx, kindMutating, "", "app=sidecar-injector")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for i := range list {
			hooks, _, _ := unstructured.NestedSlice(list[i].Object, "webhooks")
			if slices.ContainsFunc(hooks, func(v any) bool { return v.(map[string]any)["name"] == "namespace.sidecar-injector.istio.io" }) {
				names = append(names, list[i].GetName())
			}
		}
		return strings.Join(names, " ")
	}
	set := func(o TagOptions) error { o.Namespace = DefaultNamespace; return b.SetTag(ctx, o) }
	step := func(what, want string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := answers(); got != want {
			t.Errorf("%s: %q answers for the default, want %q", what, got, want)
		}
	}
	step("two revisions", "istio-sidecar-injector", nil)
	step("a tag", "istio-sidecar-injector", set(TagOptions{Name: "prod", Revision: "default"}))
	if err := set(TagOptions{Name: "prod", Revision: "canary"}); !errors.Is(err, ErrTagExists) {
		t.Errorf("a tag is moved without overwrite: %v", err)
	}
	step("the tag moves", "istio-sidecar-injector", set(TagOptions{Name: "prod", Revision: "canary", Overwrite: true}))
	step("the default moves", "istio-revision-tag-default", set(TagOptions{Name: "default", Revision: "canary"}))
	b.apply(Request{Profile: "minimal"})
	step("the old one is upgraded meanwhile", "istio-revision-tag-default", nil)
	step("and moves back", "istio-sidecar-injector", set(TagOptions{Name: "default", Revision: "default", Overwrite: true}))
	if b.get(kindValidating, "", defaultValidator) != nil {
		t.Error("the default's validator stays")
	}
	if err := set(TagOptions{Name: "prod", Revision: "nobody", Overwrite: true}); err == nil {
		t.Error("a tag points to a revision that is not there")
	}

	ns := newObject(apply.Ref{Kind: kindNamespace, Name: "shop"})
	ns.SetLabels(map[string]string{labelRevision: "prod"})
	if _, err := b.Cluster.Create(ctx, ns); err != nil {
		t.Fatal(err)
	}
	tags, err := b.Tags(ctx)
	if diff := gocmp.Diff([]Tag{{Name: "prod", Revision: "canary", Namespaces: []string{"shop"}}}, tags); err != nil || diff != "" {
		t.Errorf("%v -want +got:\n%s", err, diff)
	}
	asked := false
	if done, err := b.RemoveTag(ctx, "prod", func(users []string) (bool, error) { asked = users[0] == "shop"; return false, nil }); done || err != nil || !asked {
		t.Errorf("a tag in use goes: %v %v, asked: %v", done, err, asked)
	}
	if err := b.Uninstall(ctx, Removal{Namespace: DefaultNamespace, Revision: "canary"}); err != nil {
		t.Fatal(err)
	}
	if b.get(kindMutating, "", "istio-sidecar-injector-canary") != nil || b.get(kindMutating, "", "istio-sidecar-injector") == nil {
		t.Error("uninstall of a revision takes too little or too much")
	}
}

// testHelm: the real Helm installs and upgrades, though the control plane
// has written into its webhooks meanwhile, and lateen keeps its hands off.
func testHelm(t *testing.T, b *bed) {
	ctx := t.Context()
	run := func(args ...string) {
		t.Helper()
		if out, err := b.helm(args...); err != nil {
			t.Fatalf("helm %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	chart := func(name string) string { return filepath.Join("../../charts", name) }
	run("install", "base", chart("base"), "--create-namespace")
	b.Cluster.Forget()
	run("install", "istiod", chart("istiod"), "--set", "pilot.autoscaleMin=3")
	const validator = "istio-validator-istio-system"
	if err := b.client.PatchWebhookPolicy(ctx, validator, []byte("bundle"), "Fail"); err != nil {
		t.Fatal(err)
	}
	if err := b.client.PatchWebhook(ctx, "istio-sidecar-injector", []byte("bundle")); err != nil {
		t.Fatal(err)
	}
	run("upgrade", "base", chart("base"))
	run("upgrade", "istiod", chart("istiod"), "--set", "pilot.autoscaleMin=4", "--set", "sidecarInjectorWebhook.timeoutSeconds=5")
	hook := firstWebhook(b.get(kindValidating, "", validator))
	if hook["failurePolicy"] != "Fail" || at(hook, "clientConfig.caBundle") == nil {
		t.Errorf("the upgrade undid what the control plane wrote: %v", hook)
	}
	hook = firstWebhook(b.get(kindMutating, "", "istio-sidecar-injector"))
	if fmt.Sprint(hook["timeoutSeconds"]) != "5" || at(hook, "clientConfig.caBundle") == nil {
		t.Errorf("the injector's webhook: %v", hook)
	}
	err := b.Apply(ctx, plan(t, Request{Profile: "minimal"}))
	if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), "Helm's release istiod") {
		t.Errorf("lateen takes Helm's objects over: %v", err)
	}
	gone, kept, err := b.Remove(ctx, Removal{Namespace: DefaultNamespace, Purge: true})
	if err != nil || len(gone) > 0 || len(kept) < 25 {
		t.Errorf("uninstall would take Helm's objects: %v, %d kept, %v", gone, len(kept), err)
	}
	run("uninstall", "istiod")
	run("uninstall", "base")
}
