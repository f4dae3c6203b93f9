package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// route makes a version of a VirtualService.
func route(t testing.TB, uid string, generation int, spec string) *unstructured.Unstructured {
	t.Helper()
	text := fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r, namespace: shop, uid: %s, generation: %d, resourceVersion: \"%d\"}\nspec: %s", uid, generation, generation+100, spec)
	data, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	return u
}

// nothing remembers no object.
func nothing(verdict.Ref, string) *api.Object { return nil }

// TestLastGood: what a replica keeps of a broken object, another one has in force.
func TestLastGood(t *testing.T) {
	k := api.KindNamed("VirtualService")
	c := fakeClient(t)
	one := c.Source()
	good, _ := keepCustom(k, one.good.find)(nil, route(t, "u1", 1, "{hosts: [a], http: [{route: [{destination: {host: a}}]}]}"))
	broken, _ := keepCustom(k, one.good.find)(good, route(t, "u1", 2, "{hosts: 7}"))
	if !broken.outdated || broken.object != good.object {
		t.Fatalf("%+v", broken)
	}
	one.keepGood([]*api.Object{broken.object})
	two := c.Source()
	two.memory.stored = one.memory.saved // by way of the ConfigMap
	two.recallGood()
	for _, step := range []struct {
		uid  string
		want bool
	}{{"u1", true}, {"u2", false}} {
		got, _ := keepCustom(k, two.good.find)(nil, route(t, step.uid, 2, "{hosts: 7}"))
		if (got.object != nil) != step.want || got.outdated != step.want {
			t.Fatalf("%s: %+v", step.uid, got)
		}
		if step.want && (!api.SameSpec(got.object, good.object) || got.object.Meta.Generation != 1 || got.object.Meta.UID != "u1") {
			t.Errorf("%+v", got.object)
		}
	}
	one.keepGood(nil)
	if got := string(one.memory.saved[lastGoodDocument]); len(one.good.kept) != 0 || got == "" {
		t.Errorf("a mended object is kept: %v", one.good.kept)
	}
}

// TestKeepCustom follows one object through its versions.
func TestKeepCustom(t *testing.T) {
	const good, better = "{hosts: [a], http: [{route: [{destination: {host: a}}]}]}", "{hosts: [b], http: [{route: [{destination: {host: b}}]}]}"
	var held *item
	for _, step := range []struct {
		name   string
		object *unstructured.Unstructured
		host   string // in force; "" for nothing
		said   []string
		same   bool // as the step before
	}{
		{"broken from the start", route(t, "u1", 1, "{hosts: 7}"), "", []string{"spec.hosts: expected a list", "the object is not good: it has no effect"}, false},
		{"good", route(t, "u1", 2, good), "a", nil, false},
		{"its status", func() *unstructured.Unstructured {
			u := route(t, "u1", 2, good)
			u.Object["status"] = map[string]any{"conditions": []any{}}
			u.SetResourceVersion("999")
			u.SetManagedFields([]metav1.ManagedFieldsEntry{{Manager: "x"}})
			return u
		}(), "a", nil, true},
		{"a label", func() *unstructured.Unstructured {
			u := route(t, "u1", 2, good)
			u.SetLabels(map[string]string{"x": "y"})
			return u
		}(), "a", nil, false},
		{"a wrong type", route(t, "u1", 3, "{hosts: [a], http: 1}"), "a", []string{"spec.http: expected a list", "generation 2 stays in force"}, false},
		{"a wrong value", route(t, "u1", 4, "{hosts: [a], http: [{route: [{destination: {host: a}}], timeout: -1s}]}"), "a", []string{"timeout", "generation 2 stays in force"}, false},
		{"a field of the future", route(t, "u1", 5, "{hosts: [b], soon: 1, http: [{route: [{destination: {host: b}}]}]}"), "b", []string{"spec.soon: unknown field"}, false},
		{"good again", route(t, "u1", 6, better), "b", nil, false},
		{"another object of the name, broken", route(t, "u2", 1, "{hosts: 7}"), "", []string{"expected a list", "it has no effect"}, false},
	} {
		t.Run(step.name, func(t *testing.T) {
			now, ok := keepCustom(api.KindNamed("VirtualService"), nothing)(held, step.object)
			if !ok {
				t.Fatal("not held")
			}
			if (now == held) != step.same {
				t.Errorf("the same as before: %t", now == held)
			}
			held = now
			host := ""
			if now.object != nil {
				host = now.object.Spec.(*networking.VirtualService).Hosts[0]
			}
			if host != step.host {
				t.Errorf("in force is %q, want %q", host, step.host)
			}
			if len(now.statuses) != len(step.said) {
				t.Fatalf("said: %v", now.statuses)
			}
			for i, want := range step.said {
				got := now.statuses[i]
				if !strings.Contains(got.Path+": "+got.Message, want) || got.Generation != step.object.GetGeneration() {
					t.Errorf("said %s of generation %d, want %q", got, got.Generation, want)
				}
			}
		})
	}
}

// TestKeepTyped: what nobody reads is no change.
func TestKeepTyped(t *testing.T) {
	keep := keepService(api.KindNamed("Service"))
	service := func(change func(*corev1.Service)) *corev1.Service {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n", UID: "u", ResourceVersion: "5",
			Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: "{}"}}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.1"}}
		change(s)
		return s
	}
	first, _ := keep(nil, service(func(*corev1.Service) {}))
	for _, c := range []struct {
		name   string
		change func(*corev1.Service)
		same   bool
	}{
		{"nothing", func(s *corev1.Service) { s.ResourceVersion = "6" }, true},
		{"what was applied last", func(s *corev1.Service) { s.Annotations[corev1.LastAppliedConfigAnnotation] = "{1}" }, true},
		{"conditions", func(s *corev1.Service) { s.Status.Conditions = []metav1.Condition{{Type: "x"}} }, true},
		{"an annotation", func(s *corev1.Service) { s.Annotations["networking.istio.io/exportTo"] = "." }, false},
		{"the spec", func(s *corev1.Service) { s.Spec.ClusterIP = "None" }, false},
		{"the load balancer's address", func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
		}, false},
		{"another object", func(s *corev1.Service) { s.UID = "v" }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			now, ok := keep(first, service(c.change))
			if !ok || (now == first) != c.same {
				t.Errorf("held %t, the same %t", ok, now == first)
			}
		})
	}
	if _, ok := keepSecret(api.KindNamed("Secret"))(nil, &corev1.Secret{Data: map[string][]byte{"password": nil}}); ok {
		t.Error("a Secret without a credential is held")
	}
}

// TestTable: readers hear of what differs, and of nothing else.
func TestTable(t *testing.T) {
	var told []string
	c := fakeClient(t)
	x := newTable(c.namespaceKind(), func(ns string) { told = append(told, "?") })
	pods := newTable(c.podKind(), func(ns string) { told = append(told, ns) })
	expect := func(what string, want ...string) {
		t.Helper()
		slices.Sort(told)
		if !slices.Equal(told, want) {
			t.Errorf("%s: told of %q, want %q", what, told, want)
		}
		told = nil
	}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	if x.settled(true) == nil {
		t.Error("settled before the first list")
	}
	do(x.Replace(nil, "1"))
	expect("an empty first list", "?")
	if err := x.settled(false); err != nil {
		t.Error(err)
	}
	a, b, other := runningPod("n", "a", "10.1.0.1"), runningPod("n", "b", "10.1.0.2"), runningPod("m", "c", "10.1.0.3")
	do(pods.Replace([]any{a, b, other}, "1"))
	expect("the first list", "", "m", "n")
	do(pods.Replace([]any{a.DeepCopy(), b.DeepCopy(), other.DeepCopy()}, "2"))
	expect("the same list again")
	do(pods.Replace([]any{a.DeepCopy(), other.DeepCopy()}, "3"))
	expect("one is missing", "n")
	do(pods.Update(a.DeepCopy()))
	expect("no change")
	ended := a.DeepCopy()
	ended.Status.Phase = corev1.PodSucceeded
	do(pods.Update(ended))
	expect("one that is no longer held", "n")
	do(pods.Update(ended))
	do(pods.Delete(ended))
	expect("what is not held")
	do(pods.Add(a))
	expect("back", "n")
	do(pods.Delete(a))
	expect("deleted", "n")
	if pods.len() != 1 {
		t.Errorf("%d are held", pods.len())
	}
	if pods.Update("junk") == nil {
		t.Error("junk is taken")
	}
}

func TestGatewayNamespaces(t *testing.T) {
	c := fakeClient(t)
	pods := newTable(c.podKind(), func(string) {})
	for _, ns := range []string{"edge", "shop"} {
		p := runningPod(ns, "p", "10.1.0.1")
		p.Labels = map[string]string{"istio": ns}
		if err := pods.Update(p); err != nil {
			t.Fatal(err)
		}
	}
	far := gatewayv1.Namespace("vault")
	object := func(spec any) *api.Object { return &api.Object{Meta: api.Meta{Namespace: "own"}, Spec: spec} }
	tls := func(refs ...gatewayv1.SecretObjectReference) *api.Object {
		return object(&gatewayv1.Gateway{Spec: gatewayv1.GatewaySpec{Listeners: []gatewayv1.Listener{{}, {TLS: &gatewayv1.ListenerTLSConfig{CertificateRefs: refs}}}}})
	}
	istio := func(credential string) *api.Object {
		return object(&networking.Gateway{Selector: map[string]string{"istio": "edge"}, Servers: []*networking.Server{{}, {Tls: &networking.ServerTLSSettings{CredentialName: credential}}}})
	}
	for _, c := range []struct {
		name    string
		objects []*api.Object
		want    string
	}{
		{"none", []*api.Object{istio(""), tls()}, ""},
		{"Istio's", []*api.Object{istio("cert")}, "edge"},
		{"the Gateway API's", []*api.Object{tls(gatewayv1.SecretObjectReference{}, gatewayv1.SecretObjectReference{Namespace: &far})}, "own vault"},
		{"both", []*api.Object{istio("cert"), tls(gatewayv1.SecretObjectReference{Namespace: &far})}, "edge vault"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for ns := range gatewayNamespaces(c.objects, pods) {
				got = append(got, ns)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// FuzzKeepCustom: whatever a server stores, an item comes of it, and a version that
// is not good says so.
func FuzzKeepCustom(f *testing.F) {
	f.Add([]byte(`{"hosts":["a"],"http":[{"route":[{"destination":{"host":"a"}}]}]}`))
	f.Add([]byte(`{"hosts":7,"x":[{}]}`))
	f.Fuzz(func(t *testing.T, spec []byte) {
		u := &unstructured.Unstructured{}
		if u.UnmarshalJSON([]byte(`{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"r","namespace":"n"},"spec":`+string(spec)+`}`)) != nil {
			return
		}
		i, ok := keepCustom(api.KindNamed("VirtualService"), nothing)(nil, u)
		if !ok || i.object == nil && len(i.statuses) == 0 {
			t.Errorf("%+v, %t", i, ok)
		}
	})
}
