package kube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admission "k8s.io/api/admissionregistration/v1"
	authn "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/lateen-mesh/lateen/internal/testkit/apiserver"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// TestCluster runs against a real API server, one for all its parts.
func TestCluster(t *testing.T) {
	server := apiserver.Start(t)
	c := connect(t, server, "")
	for _, ns := range []string{"istio-system", "shop", "gate", "dark"} {
		create(t, c, &corev1.Namespace{TypeMeta: kindOf("v1", "Namespace"), ObjectMeta: metav1.ObjectMeta{Name: ns, Labels: map[string]string{"team": ns}}})
	}
	t.Run("documents", func(t *testing.T) { testDocuments(t, c) })
	t.Run("review", func(t *testing.T) { testReview(t, c) })
	t.Run("webhooks", func(t *testing.T) { testWebhooks(t, c) })
	t.Run("sign", func(t *testing.T) { testSign(t, c) })
	t.Run("lead", func(t *testing.T) { testLead(t, c) })
	t.Run("prior", func(t *testing.T) { testPrior(t, c) })
	t.Run("source", func(t *testing.T) { testSource(t, server, c) })
}

func kindOf(apiVersion, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: apiVersion, Kind: kind}
}

// resources of the kinds that the tests make.
var resources = map[string]string{
	"Namespace": "namespaces", "Service": "services", "Pod": "pods", "Secret": "secrets", "ConfigMap": "configmaps", "ServiceAccount": "serviceaccounts",
	"EndpointSlice": "endpointslices", "Node": "nodes", "VirtualService": "virtualservices", "Gateway": "gateways", "PeerAuthentication": "peerauthentications",
	"MutatingWebhookConfiguration": "mutatingwebhookconfigurations", "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
	"CustomResourceDefinition": "customresourcedefinitions", "DestinationRule": "destinationrules", "EnvoyFilter": "envoyfilters",
}

// object turns YAML or a typed object into what the dynamic client takes.
func object(t testing.TB, from any) (*unstructured.Unstructured, schema.GroupVersionResource) {
	t.Helper()
	var data []byte
	var err error
	if text, ok := from.(string); ok {
		data, err = yaml.YAMLToJSON([]byte(text))
	} else {
		data, err = json.Marshal(from)
	}
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	gv, err := schema.ParseGroupVersion(u.GetAPIVersion())
	if err != nil || resources[u.GetKind()] == "" {
		t.Fatalf("%s %s: %v", u.GetAPIVersion(), u.GetKind(), err)
	}
	return u, gv.WithResource(resources[u.GetKind()])
}

// create makes an object; a status that it has is written too.
func create(t testing.TB, c *Client, from any) {
	t.Helper()
	u, r := object(t, from)
	made, err := c.dynamic.Resource(r).Namespace(u.GetNamespace()).Create(t.Context(), u, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if status, ok := u.Object["status"]; ok && u.GetKind() == "Pod" {
		made.Object["status"] = status
		if _, err := c.dynamic.Resource(r).Namespace(u.GetNamespace()).UpdateStatus(t.Context(), made, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
}

// apply makes or changes an object, as another field manager.
func apply(t testing.TB, c *Client, from any) {
	t.Helper()
	u, r := object(t, from)
	if _, err := c.dynamic.Resource(r).Namespace(u.GetNamespace()).Apply(t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "test", Force: true}); err != nil {
		t.Fatal(err)
	}
}

func remove(t testing.TB, c *Client, from any) {
	t.Helper()
	u, r := object(t, from)
	if err := c.dynamic.Resource(r).Namespace(u.GetNamespace()).Delete(t.Context(), u.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// istioDefinitions reads the published definitions of Istio's kinds.
func istioDefinitions(t testing.TB) []*unstructured.Unstructured {
	t.Helper()
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "kubernetes", "customresourcedefinitions.gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for doc := range strings.SplitSeq(string(text), "\n---") {
		if strings.Contains(doc, "kind: CustomResourceDefinition") {
			u, _ := object(t, doc)
			out = append(out, u)
		}
	}
	return out
}

func define(t testing.TB, c *Client, names ...string) {
	t.Helper()
	for _, d := range istioDefinitions(t) {
		if len(names) == 0 || slices.Contains(names, d.GetName()) {
			if _, err := c.dynamic.Resource(definitions).Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func testDocuments(t *testing.T, c *Client) {
	ctx := t.Context()
	if _, err := c.Secret(ctx, "istio-system", "ca"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a Secret that is not there: %v", err)
	}
	d := Document{Namespace: "istio-system", Name: "ca", Type: "istio.io/ca-root", Data: map[string][]byte{"ca-cert.pem": []byte("one")}}
	if err := c.CreateSecret(ctx, d); err != nil {
		t.Fatal(err)
	}
	if err := c.CreateSecret(ctx, d); !errors.Is(err, ErrExists) {
		t.Errorf("a second creation: %v", err)
	}
	first, err := c.Secret(ctx, "istio-system", "ca")
	if err != nil || string(first.Data["ca-cert.pem"]) != "one" || first.Type != d.Type {
		t.Fatalf("%v, %v", first, err)
	}
	var told atomic.Pointer[[]string]
	told.Store(&[]string{})
	stop := start(t, func(ctx context.Context) error {
		return c.FollowSecret(ctx, "istio-system", "ca", func(d *Document) {
			text := "gone"
			if d != nil {
				text = string(d.Data["ca-cert.pem"])
			}
			list := append(slices.Clone(*told.Load()), text)
			told.Store(&list)
		})
	})
	eventually(t, "the Secret is followed", func() bool { return slices.Equal(*told.Load(), []string{"one"}) })
	second := first
	second.Data = map[string][]byte{"ca-cert.pem": []byte("two")}
	if err := c.UpdateSecret(ctx, second); err != nil {
		t.Fatal(err)
	}
	if err := c.UpdateSecret(ctx, second); !errors.Is(err, ErrConflict) {
		t.Errorf("an update of an old version: %v", err)
	}
	eventually(t, "the change is told", func() bool { return slices.Equal(*told.Load(), []string{"one", "two"}) })
	if err := c.typed.CoreV1().Secrets("istio-system").Delete(ctx, "ca", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end is told", func() bool { return slices.Equal(*told.Load(), []string{"one", "two", "gone"}) })
	stop()
	m := Document{Namespace: "shop", Name: "m", Labels: map[string]string{"a": "b"}, Data: map[string][]byte{"k": []byte("v")}}
	for range 2 {
		if err := c.ApplyConfigMap(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.ConfigMap(ctx, "shop", "m")
	if err != nil || string(got.Data["k"]) != "v" || got.Labels["a"] != "b" {
		t.Errorf("%v, %v", got, err)
	}
}

func testReview(t *testing.T, c *Client) {
	ctx := t.Context()
	create(t, c, &corev1.ServiceAccount{TypeMeta: kindOf("v1", "ServiceAccount"), ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "reviews"}})
	token := func(audience string) string {
		r, err := c.typed.CoreV1().ServiceAccounts("shop").CreateToken(ctx, "reviews", &authn.TokenRequest{Spec: authn.TokenRequestSpec{Audiences: []string{audience}}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Status.Token
	}
	good := token("istio-ca")
	for range 2 { // the second answer is remembered
		caller, err := c.Review(ctx, good, []string{"istio-ca"})
		if err != nil || caller.Namespace != "shop" || caller.ServiceAccount != "reviews" {
			t.Errorf("%+v, %v", caller, err)
		}
	}
	if len(c.reviews.seen) != 1 {
		t.Errorf("%d tokens are remembered", len(c.reviews.seen))
	}
	for name, text := range map[string]string{"another audience": token("https://kubernetes.default.svc"), "not a token": "junk", "an admin, not an account": apiserver.Token} {
		if _, err := c.Review(ctx, text, []string{"istio-ca"}); !errors.Is(err, ErrRejected) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testWebhooks(t *testing.T, c *Client) {
	ctx := t.Context()
	none, url := admission.SideEffectClassNone, "https://127.0.0.1:1/"
	ignore := admission.Ignore
	hook := admission.MutatingWebhook{Name: "a.istio.io", SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, ClientConfig: admission.WebhookClientConfig{URL: &url}, FailurePolicy: &ignore}
	other := hook
	other.Name = "b.istio.io"
	create(t, c, &admission.MutatingWebhookConfiguration{TypeMeta: kindOf("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
		ObjectMeta: metav1.ObjectMeta{Name: "injector"}, Webhooks: []admission.MutatingWebhook{hook, other}})
	create(t, c, &admission.ValidatingWebhookConfiguration{TypeMeta: kindOf("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
		ObjectMeta: metav1.ObjectMeta{Name: "validator"}, Webhooks: []admission.ValidatingWebhook{{Name: "v.istio.io", SideEffects: &none, AdmissionReviewVersions: []string{"v1"},
			ClientConfig: admission.WebhookClientConfig{URL: &url}, FailurePolicy: &ignore}}})
	if err := c.PatchWebhook(ctx, "nothing", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such configuration: %v", err)
	}
	bundle := selfSigned(t)
	if err := c.PatchWebhook(ctx, "injector", bundle); err != nil {
		t.Fatal(err)
	}
	w, err := c.typed.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "injector", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range w.Webhooks {
		if string(h.ClientConfig.CABundle) != string(bundle) || *h.FailurePolicy != admission.Ignore {
			t.Errorf("%s: %s, %s", h.Name, h.ClientConfig.CABundle, *h.FailurePolicy)
		}
	}
	if err := c.PatchWebhook(ctx, "injector", bundle); err != nil {
		t.Fatal(err)
	}
	again, err := c.typed.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, "injector", metav1.GetOptions{})
	if err != nil || again.ResourceVersion != w.ResourceVersion {
		t.Errorf("what was right was written again: %v", err)
	}
	if err := c.PatchWebhookPolicy(ctx, "validator", bundle, "Fail"); err != nil {
		t.Fatal(err)
	}
	v, err := c.typed.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, "validator", metav1.GetOptions{})
	if err != nil || string(v.Webhooks[0].ClientConfig.CABundle) != string(bundle) || *v.Webhooks[0].FailurePolicy != admission.Fail {
		t.Errorf("%v, %v", v, err)
	}
	if err := c.PatchWebhookPolicy(ctx, "validator", bundle, "Sometimes"); err == nil {
		t.Error("an unknown policy is taken")
	}
	for _, kind := range []string{"Mutating", "Validating"} {
		remove(t, c, fmt.Sprintf("apiVersion: admissionregistration.k8s.io/v1\nkind: %sWebhookConfiguration\nmetadata: {name: %s}", kind, map[string]string{"Mutating": "injector", "Validating": "validator"}[kind]))
	}
}

func selfSigned(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// testSign plays the signer itself: there is no controller manager.
func testSign(t *testing.T, c *Client) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	answer := func(ctx context.Context, deny bool) error {
		requests := c.typed.CertificatesV1().CertificateSigningRequests()
		for ctx.Err() == nil {
			list, err := requests.List(ctx, metav1.ListOptions{FieldSelector: "spec.signerName=lateen.dev/test"})
			if err != nil {
				return err
			}
			for _, r := range list.Items {
				if len(r.Status.Conditions) == 0 {
					continue // not approved yet
				}
				if deny {
					r.Status.Conditions = append(r.Status.Conditions, failed)
				} else {
					r.Status.Certificate = selfSigned(t)
				}
				_, err := requests.UpdateStatus(ctx, &r, metav1.UpdateOptions{})
				return err
			}
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	}
	for _, deny := range []bool{false, true} {
		stop := start(t, func(ctx context.Context) error { return answer(ctx, deny) })
		chain, err := c.Sign(t.Context(), "lateen.dev/test", csr, time.Hour)
		stop()
		if deny != (err != nil) || deny == strings.HasPrefix(string(chain), "-----BEGIN CERTIFICATE") {
			t.Errorf("denied %t: %q, %v", deny, chain, err)
		}
		if deny && !strings.Contains(err.Error(), "the signer is tired") {
			t.Errorf("the reason is missing: %v", err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := c.Sign(ctx, "lateen.dev/nobody", csr, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a signer that does not sign: %v", err)
	}
	list, err := c.typed.CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 0 {
		t.Errorf("%d requests are left: %v", len(list.Items), err)
	}
}

// testLead: one of two leads; when it ends, the other does, without the Lease's
// time passing, and not before the first has finished.
func testLead(t *testing.T, c *Client) {
	var mu sync.Mutex
	var events []string
	note := func(s string) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, s)
	}
	seen := func() string {
		mu.Lock()
		defer mu.Unlock()
		return strings.Join(events, " ")
	}
	candidate := func(name string) func() {
		return start(t, func(ctx context.Context) error {
			return c.Lead(ctx, "test-leader", func(ctx context.Context) {
				note("+" + name)
				<-ctx.Done()
				time.Sleep(200 * time.Millisecond)
				note("-" + name)
			})
		})
	}
	stopA := candidate("a")
	eventually(t, "a leads", func() bool { return seen() == "+a" })
	stopB := candidate("b")
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	stopA()
	eventually(t, "b leads", func() bool { return seen() == "+a -a +b" })
	if d := time.Since(began); d > leaseDuration/2 {
		t.Errorf("b leads after %s only", d)
	}
	stopB()
	if seen() != "+a -a +b -b" {
		t.Errorf("%s", seen())
	}
}

func testPrior(t *testing.T, c *Client) {
	type document struct{ A map[string]int }
	s := c.Source()
	var got document
	if found, err := s.LoadPrior("routes", &got); found || err != nil {
		t.Fatalf("%t, %v", found, err)
	}
	want := document{A: map[string]int{"x": 1}}
	if err := s.SavePrior("routes", want); err != nil {
		t.Fatal(err)
	}
	if found, err := s.LoadPrior("routes", &got); !found || err != nil || got.A["x"] != 1 {
		t.Fatalf("what was saved: %v, %t, %v", got, found, err)
	}
	stop := start(t, s.KeepPrior)
	read := func() document {
		var d document
		if _, err := c.Source().LoadPrior("routes", &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	eventually(t, "it is written", func() bool { return read().A["x"] == 1 })
	want.A["x"] = 2
	if err := s.SavePrior("routes", want); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is written again", func() bool { return read().A["x"] == 2 })
	stop()
	if err := s.SavePrior("big", incompressible(2<<20)); err != nil {
		t.Fatal(err)
	}
	if err := s.memory.write(t.Context()); err == nil || !strings.Contains(err.Error(), "more than a ConfigMap holds") {
		t.Errorf("too much: %v", err)
	}
}

func incompressible(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails, by its documentation
	return b
}
