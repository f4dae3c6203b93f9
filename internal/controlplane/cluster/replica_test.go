package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/structpb"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/controlplane"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/spiffe"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// reviewer is the API server's TokenReview in memory. A token "jwt" stands for a
// caller and an audience.
type reviewer struct {
	mu    sync.Mutex
	known map[string]reviewedToken
	away  error
	asked int
}

type reviewedToken struct {
	kube.Caller
	audience string
}

func (r *reviewer) Review(_ context.Context, token string, audiences []string) (kube.Caller, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked++
	if r.away != nil {
		return kube.Caller{}, r.away
	}
	k, ok := r.known[token]
	if !ok {
		return kube.Caller{}, fmt.Errorf("%w: token has expired", kube.ErrRejected)
	}
	for _, a := range audiences {
		if a == k.audience {
			return k.Caller, nil
		}
	}
	if len(audiences) == 0 {
		return k.Caller, nil
	}
	return kube.Caller{}, fmt.Errorf("%w: it is for the audience %q", kube.ErrRejected, k.audience)
}

func (r *reviewer) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// secrets is a system namespace in memory.
type secrets struct {
	mu   sync.Mutex
	data map[string]map[string][]byte
}

func (s *secrets) Secret(_ context.Context, name string) (map[string][]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data[name], nil
}

func (s *secrets) CreateSecret(_ context.Context, name string, data map[string][]byte) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.data[name] != nil {
		return false, nil
	}
	s.data[name] = data
	return true, nil
}

func (s *secrets) UpdateSecret(_ context.Context, name string, data map[string][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.data[name] = data
	return nil
}

// replica is what a replica serves, without a cluster behind it.
type replica struct {
	t       *testing.T
	core    *controlplane.Core
	servers *servers
	ports   *ports
	review  *reviewer
	ca      *ca.Keeper
	health  *health
	store   *store.Store
	stop    func()
}

var (
	curl   = kube.Caller{Namespace: "default", ServiceAccount: "curl", Pod: "curl-0"}
	istiod = kube.Caller{Namespace: "istio-system", ServiceAccount: "prometheus"}
)

func newReplica(t *testing.T, keys *secrets, change func(*Options)) *replica {
	t.Helper()
	o := Options{
		XDSAddr: "127.0.0.1:0", PlainAddr: "127.0.0.1:0", WebhookAddr: "127.0.0.1:0", DebugAddr: "127.0.0.1:0", HealthAddr: "127.0.0.1:0",
		Leave: Leave{Notice: time.Millisecond, Spread: 50 * time.Millisecond, Rest: time.Second}, Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if change != nil {
		change(&o)
	}
	o, err := o.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{t: t, health: &health{}, review: &reviewer{known: map[string]reviewedToken{
		"curl": {curl, TokenAudience}, "api": {curl, "https://kubernetes.default.svc"}, "ratings": {kube.Caller{Namespace: "default", ServiceAccount: "ratings"}, TokenAudience},
		"prod": {kube.Caller{Namespace: "prod", ServiceAccount: "curl"}, TokenAudience}, "istiod": {istiod, TokenAudience},
	}}}
	if keys == nil {
		keys = &secrets{data: map[string]map[string][]byte{}}
	}
	if r.ca, err = ca.Keep(t.Context(), ca.KeeperOptions{Secrets: keys, Terms: ca.Terms{Longest: o.LongestLifetime}}); err != nil {
		t.Fatal(err)
	}
	serving, err := ca.Serve(t.Context(), r.ca.Authority(), o.serverNames(), o.Log)
	if err != nil {
		t.Fatal(err)
	}
	if r.store, err = store.Open(filepath.Join(t.TempDir(), "s"), store.Options{Validate: validate.Error}); err != nil {
		t.Fatal(err)
	}
	r.core, err = controlplane.NewCore(controlplane.CoreOptions{Push: push.Options{Objects: r.store, Memory: r.store, NameTable: true}, Log: o.Log, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if r.ports, err = open(o); err != nil {
		t.Fatal(err)
	}
	show := &pages{
		core: r.core, objects: r.store, mesh: func() *meshconfig.MeshConfig { return &meshconfig.MeshConfig{TrustDomain: "cluster.local"} },
		inject: newInjection(o, r.store, r.core.Metrics()), health: r.health, roots: r.ca.Authority().Roots,
		access: access{review: r.review, audiences: o.Audiences, system: o.Namespace, log: o.Log},
	}
	hooks := http.NewServeMux()
	hooks.HandleFunc("/validate", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "validated") })
	r.servers, err = newServers(o, deps{
		ports: r.ports, core: r.core, signer: r.ca.Authority(), serving: serving, metrics: ca.NewMetrics(r.core.Metrics()),
		callers:  newCallers(r.review, o.Audiences, func() []string { return []string{"cluster.local"} }, o.Log, time.Now),
		webhooks: hooks, pages: remote(show.handler(o)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.health.wait(r.core.Ready)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	page := newHTTP(r.health.handler(), o.Log)
	parts := append(r.servers.parts(), r.core.Engine().Run, serving.Run, serveHTTP(page, r.ports.health, page.Serve))
	go func() { done <- together(ctx, parts...) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, r.store.Close()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(r.stop)
	return r
}

// remote lets a request with the header X-From come from elsewhere: tests have only
// loopback.
func remote(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if from := r.Header.Get("X-From"); from != "" {
			r.RemoteAddr = from
		}
		h.ServeHTTP(w, r)
	})
}

func (r *replica) apply(text string) {
	r.t.Helper()
	list, err := api.Decode(strings.NewReader(text), "test.yaml")
	if err == nil {
		_, err = r.store.Apply(list)
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

// tls is a client's side: the mesh's roots, the name that proxies call, and maybe a
// certificate.
func (r *replica) tls(cert *tls.Certificate) *tls.Config {
	return clientTLS(r.ca.Authority().Roots(), cert)
}

func clientTLS(roots []byte, cert *tls.Certificate) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	c := &tls.Config{RootCAs: pool, ServerName: "istiod.istio-system.svc"}
	if cert != nil {
		c.Certificates = []tls.Certificate{*cert}
	}
	return c
}

func (r *replica) dial(cert *tls.Certificate) *grpc.ClientConn {
	return r.dialWith(r.ca.Authority().Roots(), cert)
}

func (r *replica) dialWith(roots []byte, cert *tls.Certificate) *grpc.ClientConn {
	r.t.Helper()
	conn, err := grpc.NewClient(r.ports.xds.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(clientTLS(roots, cert))))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	return conn
}

// certificate asks for a workload's certificate with a token.
func (r *replica) certificate(token, account string) (*tls.Certificate, error) {
	id := identity.New(identity.Options{
		ID:     spiffe.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: account},
		Issuer: identity.NewIssuer(r.dial(nil), func() (string, error) { return token, nil }),
	})
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan error, 1)
	go func() { done <- id.Run(ctx) }()
	defer func() { cancel(); <-done }()
	soon, stop := context.WithTimeout(ctx, 2*time.Second)
	defer stop()
	if err := id.Wait(soon); err != nil {
		return nil, err
	}
	cert, key, _, _ := id.PEM()
	pair, err := tls.X509KeyPair(cert, key)
	return &pair, err
}

// refused asks once for a certificate.
func (r *replica) refused(token, account string) error {
	return r.requestAs(r.ca.Authority().Roots(), token, "default", account)
}

// requestAs asks once for a certificate of an account.
func (r *replica) requestAs(roots []byte, token, namespace, account string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		r.t.Fatal(err)
	}
	id := spiffe.ID{TrustDomain: "cluster.local", Namespace: namespace, ServiceAccount: account}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{URIs: []*url.URL{id.URI()}}, key)
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = identity.NewIssuer(r.dialWith(roots, nil), func() (string, error) { return token, nil }).
		Issue(r.t.Context(), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	return err
}

func proxy(name, namespace, account string) *corev3.Node {
	md, err := structpb.NewStruct(map[string]any{
		"NAME": name, "NAMESPACE": namespace, "SERVICE_ACCOUNT": account, "INSTANCE_IPS": "10.1.0.1", "LATEEN_DATA_PLANE": "native", "INTERCEPTION_MODE": "REDIRECT",
	})
	if err != nil {
		panic(err)
	}
	return &corev3.Node{Id: "sidecar~10.1.0.1~" + name + "." + namespace + "~" + namespace + ".svc.cluster.local", Metadata: md}
}

// stream is an ADS client that takes what it is given.
type stream struct {
	client *client.Client
	got    chan client.Resource
	stop   func()
}

func (r *replica) stream(token string, cert *tls.Certificate, node *corev3.Node, types ...string) *stream {
	r.t.Helper()
	o := client.Options{Target: r.ports.xds.Addr().String(), TLS: r.tls(cert), Node: node, MinBackoff: 10 * time.Millisecond, MaxBackoff: 50 * time.Millisecond}
	if token != "" {
		o.Token = func() (string, error) { return token, nil }
	}
	c, err := client.New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	s := &stream{client: c, got: make(chan client.Resource, 64)}
	for _, t := range types {
		c.Subscribe(t, client.Wildcard)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- c.Run(ctx, client.HandlerFunc(func(_ context.Context, _ string, added []client.Resource, _ []string) map[string]error {
			for _, a := range added {
				s.got <- a
			}
			return nil
		}))
	}()
	s.stop = sync.OnceFunc(func() { cancel(); <-done })
	r.t.Cleanup(s.stop)
	return s
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// selfSigned makes a root with its key, in PEM.
func selfSigned(t *testing.T) (cert, keyPEM []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "plugged"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
}
