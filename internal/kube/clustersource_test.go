package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/testkit/apiserver"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// follower collects what a Source tells.
type follower struct {
	mu        sync.Mutex
	workloads []registry.Workload
	told      int
}

func (f *follower) set(list []registry.Workload) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.workloads, f.told = list, f.told+1
}

func (f *follower) render() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return render(f.workloads)
}

func has(s *Source, ref verdict.Ref) *api.Object {
	list, _ := s.Snapshot()
	for _, o := range list {
		if o.Ref() == ref {
			return o
		}
	}
	return nil
}

const routesYAML = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews, namespace: shop}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews}}]}]
`

func testSource(t *testing.T, server *apiserver.Server, c *Client) {
	s := c.Source()
	var f follower
	s.OnWorkloads(f.set)
	stop := start(t, s.Run)
	eventually(t, "synced", func() bool { return s.Synced() == nil })
	route := verdict.Ref{Kind: "VirtualService", Namespace: "shop", Name: "reviews"}

	t.Run("definitions come later", func(t *testing.T) {
		define(t, c, "virtualservices.networking.istio.io", "destinationrules.networking.istio.io", "gateways.networking.istio.io", "envoyfilters.networking.istio.io")
		eventually(t, "an object is taken", func() bool {
			u, r := object(t, routesYAML)
			_, err := c.dynamic.Resource(r).Namespace("shop").Apply(t.Context(), "reviews", u, metav1.ApplyOptions{FieldManager: "test"})
			return err == nil
		})
		eventually(t, "the object is seen", func() bool { return has(s, route) != nil })
		o := has(s, route)
		if o.Meta.UID == "" || o.Meta.Generation != 1 || o.Meta.Created == 0 || o.Meta.Version == 0 {
			t.Errorf("%+v", o.Meta)
		}
	})
	t.Run("workloads", func(t *testing.T) { testWorkloads(t, c, &f) })
	t.Run("status", func(t *testing.T) { testStatus(t, c, s, route) })
	t.Run("a broken object", func(t *testing.T) { testBroken(t, c, s, route) })
	t.Run("revisions", func(t *testing.T) { testRevisions(t, c, s) })
	t.Run("secrets", func(t *testing.T) { testSecrets(t, c, s) })
	t.Run("roots", func(t *testing.T) { testRoots(t, c, s) })
	t.Run("mesh configuration", func(t *testing.T) { testMesh(t, c, s, &f) })
	t.Run("an outage", func(t *testing.T) { testOutage(t, server, c, s, &f, route) })
	t.Run("a definition goes", func(t *testing.T) {
		if err := c.dynamic.Resource(definitions).Delete(t.Context(), "virtualservices.networking.istio.io", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "its objects are forgotten", func() bool { return has(s, route) == nil })
		if has(s, verdict.Ref{Kind: "Service", Namespace: "shop", Name: "reviews"}) == nil {
			t.Error("other objects are gone as well")
		}
	})
	stop()
}

func testWorkloads(t *testing.T, c *Client, f *follower) {
	create(t, c, "apiVersion: v1\nkind: Node\nmetadata: {name: node1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: z}}")
	create(t, c, "apiVersion: v1\nkind: Service\nmetadata: {name: reviews, namespace: shop}\nspec: {ports: [{name: http, port: 80}], selector: {app: a}}")
	p := runningPod("shop", "a-1", "10.1.0.1")
	p.TypeMeta = kindOf("v1", "Pod")
	p.OwnerReferences[0].APIVersion, p.OwnerReferences[0].UID = "apps/v1", "u"
	p.Spec.ServiceAccountName = ""
	create(t, c, p)
	slice := sliceFor("shop", "reviews", endpointFor("10.1.0.1", "a-1"), endpointFor("192.0.2.1", ""))
	slice.TypeMeta = kindOf("discovery.k8s.io/v1", "EndpointSlice")
	create(t, c, slice)
	want := "shop/192.0.2.1 192.0.2.1 shop/reviews=192.0.2.1:http.8080\nshop/a-1 10.1.0.1 in r.z. shop/reviews=10.1.0.1:http.8080\n"
	eventually(t, "the workloads are told", func() bool { return f.render() == want })
	// What concerns nobody is not told.
	f.mu.Lock()
	before := f.told
	f.mu.Unlock()
	apply(t, c, "apiVersion: v1\nkind: Pod\nmetadata: {name: a-1, namespace: shop, annotations: {example.com/x: some}}")
	time.Sleep(300 * time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.told != before {
		t.Errorf("%d times told of an annotation", f.told-before)
	}
}

// testStatus: verdicts come as conditions, once, and do not come back as changes.
func testStatus(t *testing.T, c *Client, s *Source, route verdict.Ref) {
	w := c.StatusWriter(s)
	stop := start(t, w.Run)
	read := func() status {
		u, err := c.dynamic.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}).Namespace("shop").Get(t.Context(), "reviews", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return statusIn(u)
	}
	_, revision := s.Snapshot()
	w.Set([]verdict.Status{{Origin: verdict.Origin{Ref: route, Generation: 1}, Code: verdict.Effective}})
	eventually(t, "the condition is there", func() bool {
		list := read().Conditions
		return len(list) == 2 && list[0].Type == "Effective" && list[0].Status == "True" && list[0].ObservedGeneration == 1 && list[1].Reason == "noErrorsFound"
	})
	first := read().Conditions[0].LastTransitionTime
	time.Sleep(1100 * time.Millisecond)
	w.Set([]verdict.Status{{Origin: verdict.Origin{Ref: route, Generation: 1, Path: "spec.http[0]"}, Code: verdict.Waiting, Message: "the service reviews does not exist"}})
	eventually(t, "the reason is there", func() bool {
		st := read()
		return st.Conditions[0].Reason == "PartlyEffective" && st.Conditions[0].Message == "spec.http[0]: the service reviews does not exist" &&
			len(st.ValidationMessages) == 1 && st.ValidationMessages[0].Type.Code == "IST0101" && st.ValidationMessages[0].Level == "WARNING"
	})
	if got := read().Conditions[0].LastTransitionTime; got != first {
		t.Errorf("the condition stays True and turned at %s, then at %s", first, got)
	}
	time.Sleep(200 * time.Millisecond)
	if _, now := s.Snapshot(); now != revision {
		t.Errorf("writing statuses moved the objects from revision %d to %d", revision, now)
	}
	stop()
	// The next leader writes nothing that is there already.
	before, err := c.dynamic.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}).Namespace("shop").Get(t.Context(), "reviews", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	next := c.StatusWriter(s)
	next.Set(w.verdicts)
	stop = start(t, next.Run)
	eventually(t, "the statuses are read", func() bool {
		time.Sleep(time.Second)
		return true
	})
	stop()
	if len(next.written) == 0 {
		t.Error("the next leader did not look")
	}
	after, err := c.dynamic.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}).Namespace("shop").Get(t.Context(), "reviews", metav1.GetOptions{})
	if err != nil || after.GetResourceVersion() != before.GetResourceVersion() {
		t.Errorf("the next leader wrote again: %v", err)
	}
}

// testBroken: a version that is not good leaves the one before in force, and is
// told of: a verdict, a condition, an event.
func testBroken(t *testing.T, c *Client, s *Source, route verdict.Ref) {
	w := c.StatusWriter(s)
	start(t, w.Run)
	apply(t, c, strings.Replace(routesYAML, "{host: reviews}", `{host: reviews, subset: "no good"}`, 1)+"\n  exportTo: [\"!\"]\n")
	eventually(t, "the verdict is there", func() bool { return len(s.Statuses()) > 0 })
	o := has(s, route)
	if o == nil || o.Meta.Generation != 1 {
		t.Fatalf("in force is %+v", o)
	}
	list := s.Statuses()
	last := ""
	for _, st := range list {
		if st.Code != verdict.Invalid || st.Generation != 2 {
			t.Errorf("%s at generation %d", st, st.Generation)
		}
		if st.Path == "" {
			last = st.Message
		}
	}
	if last != "the object is not good: generation 1 stays in force" {
		t.Errorf("%v", list)
	}
	// A replica that starts now has the same in force, by what the leader wrote.
	stopKeeping := start(t, s.KeepPrior)
	eventually(t, "the good version is kept", func() bool {
		d, err := c.ConfigMap(t.Context(), "istio-system", "lateen-prior")
		return err == nil && d.Data[lastGoodDocument] != nil
	})
	late := c.Source()
	stopLate := start(t, late.Run)
	eventually(t, "the late replica is ready", func() bool { return late.Synced() == nil })
	if o := has(late, route); o == nil || o.Meta.Generation != 1 {
		t.Errorf("a late replica has in force %+v", o)
	}
	stopLate()
	stopKeeping()
	w.Set(list)
	eventually(t, "an event tells", func() bool {
		events, err := c.typed.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=reviews,reason=Invalid"})
		if err != nil {
			t.Fatal(err)
		}
		return len(events.Items) == 1
	})
	eventually(t, "the condition tells", func() bool {
		u, err := c.dynamic.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "virtualservices"}).Namespace("shop").Get(t.Context(), "reviews", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		st := statusIn(u)
		return len(st.Conditions) == 2 && st.Conditions[0].Status == "False" && st.Conditions[0].Reason == "Invalid" && st.ObservedGeneration == 2 && st.Conditions[1].Status == "False"
	})
	apply(t, c, strings.Replace(routesYAML, "hosts: [reviews]", "hosts: [reviews, reviews.example.com]", 1))
	eventually(t, "the good version is in force", func() bool {
		o := has(s, route)
		return o.Meta.Generation == 3 && len(o.Spec.(*networking.VirtualService).Hosts) == 2 && len(s.Statuses()) == 0
	})
}

func testRevisions(t *testing.T, c *Client, s *Source) {
	rule := func(name, rev string) string {
		return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: %s, namespace: shop, labels: {istio.io/rev: %q}}\nspec: {host: reviews}", name, rev)
	}
	create(t, c, rule("other", "canary"))
	create(t, c, rule("tagged", "prod"))
	create(t, c, rule("own", "default"))
	create(t, c, rule("none", ""))
	ref := func(name string) verdict.Ref {
		return verdict.Ref{Kind: "DestinationRule", Namespace: "shop", Name: name}
	}
	eventually(t, "own objects are seen", func() bool { return has(s, ref("own")) != nil && has(s, ref("none")) != nil })
	if has(s, ref("other")) != nil || has(s, ref("tagged")) != nil {
		t.Error("objects of another revision are seen")
	}
	create(t, c, "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingWebhookConfiguration\nmetadata: {name: istio-revision-tag-prod, labels: {istio.io/tag: prod, istio.io/rev: default}}")
	eventually(t, "the tag leads here", func() bool { return has(s, ref("tagged")) != nil })
	if has(s, ref("other")) != nil {
		t.Error("objects of another revision are seen")
	}
}

// testSecrets: Secrets are read where a gateway needs one, and nowhere else.
func testSecrets(t *testing.T, c *Client, s *Source) {
	secret := func(ns, name string) {
		create(t, c, &corev1.Secret{TypeMeta: kindOf("v1", "Secret"), ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: name}, Data: map[string][]byte{"tls.crt": []byte("c"), "tls.key": []byte("k"), "junk": []byte("j")}})
	}
	secret("gate", "cert")
	secret("shop", "cert")
	create(t, c, &corev1.Secret{TypeMeta: kindOf("v1", "Secret"), ObjectMeta: metav1.ObjectMeta{Namespace: "gate", Name: "other"}, Data: map[string][]byte{"password": []byte("p")}})
	ref := func(ns, name string) verdict.Ref { return verdict.Ref{Kind: "Secret", Namespace: ns, Name: name} }
	time.Sleep(200 * time.Millisecond)
	if has(s, ref("gate", "cert")) != nil {
		t.Error("a Secret is read that nobody needs")
	}
	p := runningPod("gate", "gateway-1", "10.1.0.9")
	p.TypeMeta, p.Labels, p.OwnerReferences = kindOf("v1", "Pod"), map[string]string{"istio": "ingressgateway"}, nil
	p.Spec.ServiceAccountName = ""
	create(t, c, p)
	create(t, c, `{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g, namespace: shop}, spec: {selector: {istio: ingressgateway},
  servers: [{port: {number: 443, name: https, protocol: HTTPS}, hosts: ["*"], tls: {mode: SIMPLE, credentialName: cert}}]}}`)
	eventually(t, "the gateway's Secret is read", func() bool { return has(s, ref("gate", "cert")) != nil })
	data := has(s, ref("gate", "cert")).Spec.(*corev1.Secret).Data
	if len(data) != 2 || string(data["tls.key"]) != "k" {
		t.Errorf("held of it: %v", data)
	}
	if has(s, ref("shop", "cert")) != nil || has(s, ref("gate", "other")) != nil {
		t.Error("other Secrets are read")
	}
	remove(t, c, "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: g, namespace: shop}}")
	eventually(t, "it is forgotten", func() bool { return has(s, ref("gate", "cert")) == nil })
}

func testRoots(t *testing.T, c *Client, s *Source) {
	var roots atomic.Pointer[[]byte]
	set := func(text string) {
		b := []byte(text)
		roots.Store(&b)
	}
	set("one")
	changed := make(chan struct{}, 1)
	stop := start(t, func(ctx context.Context) error {
		return s.KeepRoots(ctx, func() []byte { return *roots.Load() }, changed)
	})
	is := func(ns, text string) bool {
		d, err := c.ConfigMap(t.Context(), ns, "istio-ca-root-cert")
		return err == nil && string(d.Data["root-cert.pem"]) == text
	}
	for _, ns := range []string{"shop", "istio-system", "default", "dark"} {
		eventually(t, "the roots are in "+ns, func() bool { return is(ns, "one") })
	}
	if is("kube-system", "one") {
		t.Error("the roots are in kube-system")
	}
	set("two")
	poke(changed)
	eventually(t, "new roots are in shop", func() bool { return is("shop", "two") })
	if _, err := c.typed.CoreV1().ConfigMaps("shop").Patch(t.Context(), "istio-ca-root-cert", types.MergePatchType, []byte(`{"data":{"root-cert.pem":"forged"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a forgery is mended", func() bool { return is("shop", "two") })
	if err := c.typed.CoreV1().ConfigMaps("dark").Delete(t.Context(), "istio-ca-root-cert", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a deletion is mended", func() bool { return is("dark", "two") })
	create(t, c, "apiVersion: v1\nkind: Namespace\nmetadata: {name: late}")
	eventually(t, "a new namespace has them", func() bool { return is("late", "two") })
	stop()
}

// testMesh: the configuration is reloaded, selects namespaces, and a broken one
// leaves the last in force.
func testMesh(t *testing.T, c *Client, s *Source, f *follower) {
	if m := s.MeshConfig(); m.GetTrustDomain() != "cluster.local" || m.GetRootNamespace() != "istio-system" {
		t.Errorf("without a ConfigMap: %v", m)
	}
	mesh := func(text string) {
		if err := c.ApplyConfigMap(t.Context(), Document{Namespace: "istio-system", Name: "istio", Data: map[string][]byte{"mesh": []byte(text)}}); err != nil {
			t.Fatal(err)
		}
	}
	mesh("trustDomain: example.org\ndiscoverySelectors:\n- matchLabels: {team: shop}\n- matchExpressions: [{key: team, operator: In, values: [gate]}]\n")
	dark := verdict.Ref{Kind: "Namespace", Name: "default"}
	eventually(t, "other namespaces go", func() bool { return has(s, dark) == nil && s.MeshConfig().GetTrustDomain() == "example.org" })
	for _, ns := range []string{"shop", "gate", "istio-system"} {
		if has(s, verdict.Ref{Kind: "Namespace", Name: ns}) == nil {
			t.Errorf("the namespace %s is gone too", ns)
		}
	}
	if has(s, verdict.Ref{Kind: "Service", Namespace: "default", Name: "kubernetes"}) != nil {
		t.Error("a Service of an unselected namespace is seen")
	}
	if !strings.Contains(f.render(), "shop/a-1") {
		t.Errorf("workloads: %s", f.render())
	}
	mesh("trustDomain: [")
	eventually(t, "the mistake is told", func() bool {
		return slices.ContainsFunc(s.Statuses(), func(st verdict.Status) bool { return st.Ref.Kind == "ConfigMap" && st.Code == verdict.Invalid })
	})
	if s.MeshConfig().GetTrustDomain() != "example.org" {
		t.Error("a broken configuration is in force")
	}
	// A namespace is selected by a label of its own.
	apply(t, c, "apiVersion: v1\nkind: Namespace\nmetadata: {name: dark, labels: {team: shop}}")
	eventually(t, "the label selects", func() bool { return has(s, verdict.Ref{Kind: "Namespace", Name: "dark"}) != nil })
	mesh("trustDomain: example.org\n")
	eventually(t, "all namespaces are back", func() bool { return has(s, dark) != nil && len(s.Statuses()) == 0 })
}

// testOutage: what is known stays while the API server is away, and what happened
// meanwhile is seen soon after it is back.
func testOutage(t *testing.T, server *apiserver.Server, c *Client, s *Source, f *follower, route verdict.Ref) {
	time.Sleep(300 * time.Millisecond)
	list, revision := s.Snapshot()
	workloads := f.render()
	server.StopAPI()
	time.Sleep(3 * time.Second)
	server.StartAPI()
	back := time.Now()
	for range 20 { // while everything is listed anew
		if now, r := s.Snapshot(); r != revision || !slices.Equal(list, now) {
			t.Fatalf("the objects moved from revision %d to %d, from %d to %d", revision, r, len(list), len(now))
		}
		if now := f.render(); now != workloads {
			t.Fatalf("the workloads moved:\n%s", now)
		}
		time.Sleep(100 * time.Millisecond)
	}
	if err := s.Synced(); err != nil {
		t.Error(err)
	}
	apply(t, c, strings.Replace(routesYAML, "hosts: [reviews]", "hosts: [reviews, after.example.com]", 1))
	eventually(t, "a change is seen again", func() bool {
		return slices.Contains(has(s, route).Spec.(*networking.VirtualService).Hosts, "after.example.com")
	})
	t.Logf("seen %s after the API server was back", time.Since(back))
	if d := time.Since(back); d > 30*time.Second { // some seconds on a machine that does nothing else
		t.Errorf("a change is seen %s after the API server is back", d)
	}
}
