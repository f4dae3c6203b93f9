package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	authn "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/testkit/apiserver"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// bed is an API server with a small cluster in it.
type bed struct {
	t      *testing.T
	server *apiserver.Server
	client *kube.Client
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{t: t, server: apiserver.Start(t)}
	var err error
	if b.client, err = kube.Connect(t.Context(), kube.Options{Kubeconfig: b.server.Kubeconfig}); err != nil {
		t.Fatal(err)
	}
	core := b.client.Typed().CoreV1()
	made := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx, none := t.Context(), metav1.CreateOptions{}
	for name, labels := range map[string]map[string]string{"istio-system": nil, "shop": {"istio-injection": "enabled"}} {
		made(core.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}, none))
	}
	made(core.ServiceAccounts("shop").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "curl"}}, none))
	made(core.Services("shop").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "reviews"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "reviews"}, Ports: []corev1.ServicePort{{Name: "http", Port: 9080}}},
	}, none))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "bare-0", Labels: map[string]string{"app": "reviews"}},
		Spec:       corev1.PodSpec{NodeName: "n1", Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	made(core.Pods("shop").Create(ctx, pod, none))
	pod, err = core.Pods("shop").Get(ctx, "bare-0", metav1.GetOptions{})
	made(pod, err)
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.1.0.7", PodIPs: []corev1.PodIP{{IP: "10.1.0.7"}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	made(core.Pods("shop").UpdateStatus(ctx, pod, metav1.UpdateOptions{}))
	b.webhooks()
	return b
}

// webhooks are as the chart makes them: without a CA bundle.
func (b *bed) webhooks() {
	b.t.Helper()
	api := b.client.Typed().AdmissionregistrationV1()
	side, ignore := admissionregistration.SideEffectClassNone, admissionregistration.Ignore
	to := func(path string) admissionregistration.WebhookClientConfig {
		return admissionregistration.WebhookClientConfig{Service: &admissionregistration.ServiceReference{Namespace: "istio-system", Name: "istiod", Path: &path}}
	}
	rule := []admissionregistration.RuleWithOperations{{
		Operations: []admissionregistration.OperationType{admissionregistration.Create},
		Rule:       admissionregistration.Rule{APIGroups: []string{"none.example.com"}, APIVersions: []string{"v1"}, Resources: []string{"things"}},
	}}
	_, err := api.MutatingWebhookConfigurations().Create(b.t.Context(), &admissionregistration.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "istio-sidecar-injector"},
		Webhooks: []admissionregistration.MutatingWebhook{{
			Name: "a.injector.istio.io", ClientConfig: to("/inject"), SideEffects: &side, FailurePolicy: &ignore, AdmissionReviewVersions: []string{"v1"}, Rules: rule,
		}},
	}, metav1.CreateOptions{})
	if err == nil {
		_, err = api.ValidatingWebhookConfigurations().Create(b.t.Context(), &admissionregistration.ValidatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "istio-validator-istio-system"},
			Webhooks: []admissionregistration.ValidatingWebhook{{
				Name: "validation.istio.io", ClientConfig: to("/validate"), SideEffects: &side, FailurePolicy: &ignore, AdmissionReviewVersions: []string{"v1"}, Rules: rule,
			}},
		}, metav1.CreateOptions{})
	}
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) token(audience string) string {
	b.t.Helper()
	r, err := b.client.Typed().CoreV1().ServiceAccounts("shop").CreateToken(b.t.Context(), "curl", &authn.TokenRequest{
		Spec: authn.TokenRequestSpec{Audiences: []string{audience}},
	}, metav1.CreateOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	return r.Status.Token
}

// member is a whole replica, on free ports.
type member struct {
	*plane
	t    *testing.T
	stop func()
}

func (b *bed) member(name string) *member {
	b.t.Helper()
	return b.memberWith(name, func(*Options) {})
}

func (b *bed) memberWith(name string, change func(*Options)) *member {
	b.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	base, done := context.WithCancel(context.Background())
	o := Options{
		Kubeconfig: b.server.Kubeconfig, Validation: true, ManageWebhooks: true,
		XDSAddr: "127.0.0.1:0", WebhookAddr: "127.0.0.1:0", DebugAddr: "127.0.0.1:0", HealthAddr: "127.0.0.1:0",
		Leave: Leave{Notice: 50 * time.Millisecond, Spread: 100 * time.Millisecond, Rest: time.Second},
		Log:   slog.New(slog.NewTextHandler(b.t.Output(), nil)).With("replica", name),
	}
	change(&o)
	p, err := newPlane(base, o)
	if err != nil {
		b.t.Fatal(err)
	}
	m := &member{plane: p, t: b.t}
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx) }()
	m.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-ended:
			if err := errors.Join(err, p.ports.Close()); err != nil {
				b.t.Errorf("replica %s: %v", name, err)
			}
		case <-time.After(30 * time.Second):
			b.t.Errorf("replica %s does not end", name)
		}
		done()
	})
	b.t.Cleanup(m.stop)
	return m
}

func (m *member) ready() bool {
	resp, err := http.Get("http://" + m.ports.health.Addr().String() + "/ready")
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// follow connects a proxy that keeps what it is sent.
func (m *member) follow(token string) (got func() map[string]string, connected func() bool, stop func()) {
	m.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(m.authority.Roots())
	c, err := client.New(client.Options{
		Target: m.ports.xds.Addr().String(), TLS: &tls.Config{RootCAs: pool, ServerName: "istiod.istio-system.svc"},
		Node: proxy("curl-0", "shop", "curl"), MinBackoff: 10 * time.Millisecond, Token: func() (string, error) { return token, nil },
	})
	if err != nil {
		m.t.Fatal(err)
	}
	c.Subscribe(build.ClusterType, client.Wildcard)
	c.Subscribe(build.ListenerType, client.Wildcard)
	var mu sync.Mutex
	all := map[string]string{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Run(ctx, client.HandlerFunc(func(_ context.Context, url string, added []client.Resource, _ []string) map[string]error {
			mu.Lock()
			defer mu.Unlock()
			for _, a := range added {
				all[url+" "+a.Name] = string(a.Body)
			}
			return nil
		}))
	}()
	stop = sync.OnceFunc(func() { cancel(); <-ended })
	m.t.Cleanup(stop)
	return func() map[string]string {
			mu.Lock()
			defer mu.Unlock()
			out := map[string]string{}
			for k, v := range all {
				out[k] = v
			}
			return out
		}, func() bool {
			ok, _ := c.Connected()
			return ok
		}, stop
}

// TestReplicas: two replicas on a real API server serve the same bytes under the same
// root; one leads and writes; when it goes, the other does; and without the API
// server they go on.
func TestReplicas(t *testing.T) {
	b := newBed(t)
	one, two := b.member("one"), b.member("two")
	eventually(t, "both are ready", func() bool { return one.ready() && two.ready() })
	roots := one.authority.Roots()
	if !bytes.Equal(roots, two.authority.Roots()) {
		t.Fatal("the replicas have different roots")
	}
	b.written(roots)

	token := b.token(TokenAudience)
	first, on, _ := one.follow(token)
	second, on2, leave := two.follow(token)
	eventually(t, "configuration", func() bool { return on() && on2() && len(first()) > 3 && len(first()) == len(second()) })
	got := second()
	for name, body := range first() {
		if got[name] != body {
			t.Errorf("%s differs between the replicas", name)
		}
	}
	wrong, _, done := one.follow(b.token("https://kubernetes.default.svc"))
	time.Sleep(200 * time.Millisecond)
	if len(wrong()) > 0 {
		t.Error("a token for the API server is taken")
	}
	done()
	leave()

	leader, other := one, two
	if two.leads.Load() {
		leader, other = two, one
	}
	leader.stop()
	eventually(t, "another leader", other.leads.Load)

	// Without the API server: streams go on, and a proxy comes back with its token.
	if _, here, _ := other.follow(token); true {
		eventually(t, "connected to the other", here)
	}
	b.server.StopAPI()
	time.Sleep(11 * time.Second) // longer than an accepted token is remembered by the client
	_, here, _ := other.follow(token)
	eventually(t, "a known token without the API server", here)
	if !other.ready() {
		t.Error("not ready without the API server")
	}
	b.server.StartAPI()
}

// written checks what the leader writes.
func (b *bed) written(roots []byte) {
	t := b.t
	t.Helper()
	api := b.client.Typed()
	eventually(t, "the root in the namespace", func() bool {
		d, err := b.client.ConfigMap(t.Context(), "shop", "istio-ca-root-cert")
		return err == nil && bytes.Equal(d.Data["root-cert.pem"], roots)
	})
	eventually(t, "the injector's webhook trusts the root", func() bool {
		w, err := api.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "istio-sidecar-injector", metav1.GetOptions{})
		return err == nil && bytes.Equal(w.Webhooks[0].ClientConfig.CABundle, roots) && *w.Webhooks[0].FailurePolicy == admissionregistration.Ignore
	})
	eventually(t, "validation fails closed", func() bool {
		w, err := api.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), "istio-validator-istio-system", metav1.GetOptions{})
		return err == nil && bytes.Equal(w.Webhooks[0].ClientConfig.CABundle, roots) && *w.Webhooks[0].FailurePolicy == admissionregistration.Fail
	})
	eventually(t, "the pod without a proxy is told of", func() bool {
		list, err := api.CoreV1().Events("shop").List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for i := range list.Items {
			if e := &list.Items[i]; e.Reason == missingReason && e.InvolvedObject.Name == "bare-0" {
				return true
			}
		}
		return false
	})
	pod, err := api.CoreV1().Pods("shop").Get(t.Context(), "bare-0", metav1.GetOptions{})
	if err != nil || pod.DeletionTimestamp != nil {
		t.Errorf("the pod was removed, which is not configured: %v", err)
	}
}

// TestPluggedIn: a CA that is plugged in acts on all replicas without a restart, and
// its root comes to every namespace; keys that do not hold keep the last good ones.
func TestPluggedIn(t *testing.T) {
	b := newBed(t)
	m := b.member("one")
	eventually(t, "ready", m.ready)
	own := m.authority.Roots()
	plug := func(root, key []byte) {
		t.Helper()
		d := kube.Document{Namespace: "istio-system", Name: "cacerts", Data: map[string][]byte{"ca-cert.pem": root, "ca-key.pem": key}}
		if old, err := b.client.Secret(t.Context(), d.Namespace, d.Name); err == nil {
			d.Version = old.Version
			err = b.client.UpdateSecret(t.Context(), d)
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if err := b.client.CreateSecret(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	cert, key := selfSigned(t)
	plug(cert, []byte("no key"))
	time.Sleep(300 * time.Millisecond)
	if !bytes.Equal(m.authority.Roots(), own) {
		t.Fatal("keys that do not hold act")
	}
	plug(cert, key)
	eventually(t, "the plugged-in root", func() bool { return strings.Contains(string(m.authority.Roots()), string(cert)) })
	eventually(t, "its servers have it", func() bool {
		s := m.serving.Load()
		if s == nil {
			return false
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(cert)
		c, err := tls.Dial("tcp", m.ports.xds.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "istiod.istio-system.svc", NextProtos: []string{"h2"}})
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
	eventually(t, "the namespace has it", func() bool {
		d, err := b.client.ConfigMap(t.Context(), "shop", "istio-ca-root-cert")
		return err == nil && strings.Contains(string(d.Data["root-cert.pem"]), string(cert))
	})
}
