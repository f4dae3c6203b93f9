package doctor

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	admission "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/push"
)

var now = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// root makes a root certificate.
func root(t *testing.T, until time.Time) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now.Add(-time.Hour), NotAfter: until, IsCA: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// examined is a doctor for checks that ask nobody.
func examined(t *testing.T) *Doctor {
	t.Helper()
	config := `{apiVersion: v1, kind: Config, current-context: a, contexts: [{name: a, context: {cluster: a}}], clusters: [{name: a, cluster: {server: "http://127.0.0.1:1"}}]}`
	file := t.TempDir() + "/config"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := kube.Connect(t.Context(), kube.Options{Kubeconfig: file})
	if err != nil {
		t.Fatal(err)
	}
	return &Doctor{Client: c, Now: func() time.Time { return now }}
}

// has holds results against a text: "failed: …part…" or "ok: …part…".
func has(t *testing.T, list []Result, want string) {
	t.Helper()
	state, part, _ := strings.Cut(want, ": ")
	for _, r := range list {
		if string(r.State) == state && strings.Contains(r.Message, part) {
			return
		}
	}
	t.Errorf("no %q in %+v", want, list)
}

// pod makes a pod that runs, with containers.
func pod(namespace, name string, labels map[string]string, containers ...string) corev1.Pod {
	p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels, Annotations: map[string]string{"sidecar.istio.io/status": `{"revision":"default"}`}}}
	p.Status.Phase, p.Status.Conditions = corev1.PodRunning, []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c})
	}
	return p
}

func TestAPIServerAndKinds(t *testing.T) {
	d := examined(t)
	has(t, d.apiServer(t.Context(), &seen{version: "v1.34.4"}), "ok: v1.34.4")
	has(t, d.apiServer(t.Context(), &seen{version: "v1.27.0-eks"}), "failed: older than 1.29")
	has(t, d.definitions(t.Context(), &seen{}), "skipped: VirtualService")
	planes := []corev1.Pod{pod("istio-system", "istiod-1", nil)}
	has(t, d.definitions(t.Context(), &seen{planes: planes}), "failed: VirtualService")
	has(t, d.definitions(t.Context(), &seen{planes: planes, kinds: map[string]bool{"virtualservices.networking.istio.io": true}}), "failed: DestinationRule")
}

func TestControlPlane(t *testing.T) {
	d := examined(t)
	has(t, d.controlPlane(t.Context(), &seen{}), "skipped: no control plane in the namespace istio-system")
	rev := map[string]string{revisionLabel: "default"}
	one, two := pod("istio-system", "istiod-1", rev), pod("istio-system", "istiod-2", rev)
	has(t, d.controlPlane(t.Context(), &seen{planes: []corev1.Pod{one, two}}), "ok: 2 replicas")
	has(t, d.controlPlane(t.Context(), &seen{planes: []corev1.Pod{one}}), "warning: single replica")
	two.Status.Conditions, one.Status.Conditions = nil, nil
	has(t, d.controlPlane(t.Context(), &seen{planes: []corev1.Pod{one, two}}), `failed: no replica of the control plane of the revision "default" is ready`)
	has(t, d.configMaps(t.Context(), &seen{planes: []corev1.Pod{one}}), "failed: the ConfigMap istio in istio-system has no key mesh")
}

func TestWebhooks(t *testing.T) {
	d := examined(t)
	ours, other := root(t, now.Add(1000*time.Hour)), root(t, now.Add(1000*time.Hour))
	s := &seen{roots: map[string]string{"istio-system": ours}, services: []corev1.Service{{ObjectMeta: metav1.ObjectMeta{Namespace: "istio-system", Name: "istiod"}}}}
	hook := func(service string, bundle string) {
		s.mutating = []admission.MutatingWebhookConfiguration{{ObjectMeta: metav1.ObjectMeta{Name: "istio-sidecar-injector"}, Webhooks: []admission.MutatingWebhook{{
			Name: "rev", ClientConfig: admission.WebhookClientConfig{CABundle: []byte(bundle), Service: &admission.ServiceReference{Namespace: "istio-system", Name: service}},
		}}}}
	}
	has(t, d.webhooks(t.Context(), s), "failed: no webhook configuration for injection")
	hook("istiod", ours)
	has(t, d.webhooks(t.Context(), s), "ok: fit")
	hook("istiod", ours+other)
	has(t, d.webhooks(t.Context(), s), "ok: fit")
	hook("istiod", other)
	has(t, d.webhooks(t.Context(), s), "failed: not of this mesh's root")
	hook("istiod", "")
	has(t, d.webhooks(t.Context(), s), "failed: has no caBundle")
	hook("gone", ours)
	has(t, d.webhooks(t.Context(), s), "failed: istio-system/gone, which does not exist")
}

func TestRootsAndExpiry(t *testing.T) {
	d := examined(t)
	own := root(t, now.Add(10*24*time.Hour))
	s := &seen{roots: map[string]string{"istio-system": own, "a": own, "b": "other"}, pods: []corev1.Pod{pod("a", "x", nil, "istio-proxy")}}
	has(t, d.roots(t.Context(), s), "ok: 1 namespaces")
	s.pods = append(s.pods, pod("b", "x", nil, "istio-proxy"), pod("c", "x", nil, "istio-proxy"), pod("d", "x", nil, "app"))
	has(t, d.roots(t.Context(), s), "failed: in b holds another root")
	has(t, d.roots(t.Context(), s), "failed: no ConfigMap istio-ca-root-cert in c")
	has(t, d.expiry(t.Context(), s), "warning: expires on 2026-12-01")
	s.roots["istio-system"] = root(t, now.Add(-time.Minute))
	has(t, d.expiry(t.Context(), s), "failed: expired on 2026-11-21")
	s.roots["istio-system"] = ""
	has(t, d.expiry(t.Context(), s), "failed: holds no certificate")
}

func TestNamespacesAndSidecars(t *testing.T) {
	d := examined(t)
	ns := func(name string, labels map[string]string) corev1.Namespace {
		return corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	}
	s := &seen{
		namespaces: []corev1.Namespace{
			ns("on", map[string]string{"istio-injection": "enabled"}), ns("both", map[string]string{"istio-injection": "enabled", revisionLabel: "default"}),
			ns("ghost", map[string]string{revisionLabel: "ghost"}), ns("odd", map[string]string{"istio-injection": "yes"}), ns("off", nil),
		},
		mutating: []admission.MutatingWebhookConfiguration{{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{revisionLabel: "default"}}}},
		pods: []corev1.Pod{
			pod("on", "with", nil, "istio-proxy"), pod("on", "bare", nil, "app"), pod("on", "not-wanted", map[string]string{"sidecar.istio.io/inject": "false"}, "app"),
			pod("off", "elsewhere", nil, "app"), pod("off", "wished", map[string]string{"sidecar.istio.io/inject": "true"}, "app"),
		},
	}
	found := d.namespaces(t.Context(), s)
	has(t, found, "warning: the namespace both has the labels")
	has(t, found, `failed: the namespace ghost asks for the revision "ghost", which nobody serves`)
	has(t, found, "warning: the namespace odd has istio-injection=yes")
	bare := d.sidecars(t.Context(), s)
	has(t, bare, "warning: pods in on have no proxy and should: bare")
	has(t, bare, "warning: pods in off have no proxy and should: wished")
	if len(bare) != 2 {
		t.Errorf("%+v", bare)
	}
	s.pods = s.pods[:1]
	has(t, d.sidecars(t.Context(), s), "ok: 1 pods have a proxy")
}

func TestProxiesAndPorts(t *testing.T) {
	d := examined(t)
	s := &seen{planes: []corev1.Pod{pod("istio-system", "istiod-1", map[string]string{revisionLabel: "default"})}, pods: []corev1.Pod{pod("a", "x", nil, "app", "istio-proxy")}}
	d.Proxies = func(context.Context) ([]push.ProxyStatus, int, error) { return nil, 0, errors.New("nobody answers") }
	has(t, d.proxies(t.Context(), s), "failed: nobody answers")
	list := []push.ProxyStatus{{Name: "x.a", Types: map[string]push.TypeStatus{"cds": {State: push.Synced}}}}
	d.Proxies = func(context.Context) ([]push.ProxyStatus, int, error) { return list, 2, nil }
	has(t, d.proxies(t.Context(), s), "ok: 1 proxies at 2 replicas")
	list[0].Types["eds"] = push.TypeStatus{State: push.Stale}
	has(t, d.proxies(t.Context(), s), "warning: x.a has not taken its configuration: no answer yet to eds")
	list[0].Refusals = []string{"cds y: bad"}
	has(t, d.proxies(t.Context(), s), "failed: x.a refuses its configuration: cds y: bad")
	list = nil
	has(t, d.proxies(t.Context(), s), "warning: the proxy of x.a is not connected")

	has(t, d.ports(t.Context(), s), "ok: no application")
	s.pods[0].Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 15021}}
	has(t, d.ports(t.Context(), s), "failed: the container app of x.a declares the port 15021")
}
