package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// TestCallers: who may have a stream, and who may not, with what code and words.
func TestCallers(t *testing.T) {
	r := newReplica(t, nil, nil)
	r.core.Engine().SetWorkloads(nil)
	good, err := r.certificate("curl", "curl")
	if err != nil {
		t.Fatal(err)
	}
	away := errors.New("connection refused")
	for _, c := range []struct {
		name, token string
		cert        *tls.Certificate
		node        *corev3.Node
		away        error
		code        codes.Code
		says        string
	}{
		{"its own token", "curl", nil, proxy("curl-0", "default", "curl"), nil, codes.OK, ""},
		{"its own certificate", "", good, proxy("curl-0", "default", "curl"), nil, codes.OK, ""},
		{"no credentials", "", nil, proxy("curl-0", "default", "curl"), nil, codes.Unauthenticated, "no credentials"},
		{"a wrong audience", "api", nil, proxy("curl-0", "default", "curl"), nil, codes.Unauthenticated, "audience"},
		{"an expired token", "old", nil, proxy("curl-0", "default", "curl"), nil, codes.Unauthenticated, "expired"},
		{"an expired token beside a certificate", "old", good, proxy("curl-0", "default", "curl"), nil, codes.Unauthenticated, "expired"},
		{"another namespace", "prod", nil, proxy("curl-0", "default", "curl"), nil, codes.PermissionDenied, "the caller is prod/curl"},
		{"another account", "ratings", nil, proxy("curl-0", "default", "curl"), nil, codes.PermissionDenied, "the caller is default/ratings"},
		{"another pod", "curl", nil, proxy("curl-1", "default", "curl"), nil, codes.PermissionDenied, "the caller is curl-0"},
		{"a certificate of another account", "", good, proxy("r-0", "default", "ratings"), nil, codes.PermissionDenied, "the caller is default/curl"},
		{"known, while nobody can be asked", "curl", nil, proxy("curl-0", "default", "curl"), away, codes.OK, ""},
		{"unknown, while nobody can be asked", "ratings2", nil, proxy("r-0", "default", "ratings"), away, codes.Unavailable, "cannot be checked now"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.review.set(func() { r.review.away = c.away })
			s := r.stream(c.token, c.cert, c.node, build.ClusterType)
			defer s.stop()
			if c.code == codes.OK {
				eventually(t, "connected", func() bool { ok, _ := s.client.Connected(); return ok })
				return
			}
			var last error
			eventually(t, "an error", func() bool { _, last = s.client.Connected(); return last != nil })
			if !strings.Contains(last.Error(), c.says) || !strings.Contains(last.Error(), c.code.String()) {
				t.Errorf("got %v, want %v %q", last, c.code, c.says)
			}
		})
	}
}

// TestTokenIsForgotten: a token that was refused does not count later, when nobody
// can be asked; and none counts longer than it says.
func TestTokenIsForgotten(t *testing.T) {
	now := time.Unix(1000, 0)
	body := base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1060}`))
	short := "e30." + body + ".x"
	review := &reviewer{known: map[string]reviewedToken{"curl": {curl, TokenAudience}, short: {curl, TokenAudience}}}
	c := newCallers(review, []string{TokenAudience}, nil, slog.New(slog.DiscardHandler), func() time.Time { return now })
	ask := func(token string) codes.Code {
		_, err := c.Authenticate(metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "bearer "+token)))
		return status.Code(err)
	}
	away := func(err error) { review.set(func() { review.away = err }) }
	for _, token := range []string{"curl", short} {
		if got := ask(token); got != codes.OK {
			t.Fatalf("%s: %v", token, got)
		}
	}
	away(errors.New("away"))
	now = now.Add(2 * time.Minute)
	if got := ask("curl"); got != codes.OK {
		t.Errorf("after two minutes: %v", got)
	}
	if got := ask(short); got != codes.Unavailable {
		t.Errorf("a token that ended: %v", got)
	}
	away(nil)
	review.set(func() { delete(review.known, "curl") })
	if got := ask("curl"); got != codes.Unauthenticated {
		t.Errorf("a deleted pod's token: %v", got)
	}
	away(errors.New("away"))
	if got := ask("curl"); got != codes.Unavailable {
		t.Errorf("a refused token counts again: %v", got)
	}
}

// TestCertificates: a workload gets a certificate for itself and nobody else, from
// both replicas under the same root.
func TestCertificates(t *testing.T) {
	keys := &secrets{data: map[string]map[string][]byte{}}
	one, two := newReplica(t, keys, nil), newReplica(t, keys, nil)
	for i, r := range []*replica{one, two} {
		cert, err := r.certificate("curl", "curl")
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(one.ca.Authority().Roots())
		if _, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("replica %d: %v", i, err)
		}
		for token, account := range map[string]string{"curl": "admin", "old": "curl", "api": "curl"} {
			if err := r.refused(token, account); err == nil {
				t.Errorf("replica %d: token %s has a certificate of %s", i, token, account)
			}
		}
	}
}

// TestPlainHasNoSecrets and no certificates, and needs no credentials.
func TestPlain(t *testing.T) {
	r := newReplica(t, nil, nil)
	r.core.Engine().SetWorkloads(nil)
	c, err := client.New(client.Options{Target: r.ports.plain.Addr().String(), Node: proxy("curl-0", "default", "curl"), MinBackoff: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	c.Subscribe(build.ClusterType, client.Wildcard)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- c.Run(ctx, client.HandlerFunc(func(context.Context, string, []client.Resource, []string) map[string]error { return nil }))
	}()
	defer func() { cancel(); <-done }()
	eventually(t, "connected", func() bool { ok, _ := c.Connected(); return ok })
	if services := r.servers.rpc[r.ports.plain].GetServiceInfo(); len(services) != 1 {
		t.Errorf("without TLS there are %v", services)
	}
}

// TestReadiness: nothing is ready before the first build, and not any more when the
// replica ends; health goes on.
func TestReadiness(t *testing.T) {
	r := newReplica(t, nil, nil)
	get := func(path string) int {
		resp, err := http.Get("http://" + r.ports.health.Addr().String() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	s := r.stream("curl", nil, proxy("curl-0", "default", "curl"), build.ClusterType)
	if get("/ready") != http.StatusServiceUnavailable || get("/live") != http.StatusOK {
		t.Error("ready before the workloads are known, or not alive")
	}
	select {
	case x := <-s.got:
		t.Errorf("%s was served before the cluster was known", x.Name)
	case <-time.After(100 * time.Millisecond):
	}
	r.core.Engine().SetWorkloads(nil)
	eventually(t, "ready", func() bool { return get("/ready") == http.StatusOK })
	r.health.leaving.Store(true)
	if get("/ready") != http.StatusServiceUnavailable || get("/live") != http.StatusOK {
		t.Error("ready while it ends")
	}
}

// TestDrain: a replica that ends sends its proxies away, answers what was asked, and
// takes nobody new.
func TestDrain(t *testing.T) {
	r := newReplica(t, nil, nil)
	r.core.Engine().SetWorkloads(nil)
	s := r.stream("curl", nil, proxy("curl-0", "default", "curl"), build.ClusterType)
	eventually(t, "connected", func() bool { ok, _ := s.client.Connected(); return ok })
	begin := time.Now()
	r.servers.drain(t.Context())
	if took := time.Since(begin); took > 800*time.Millisecond {
		t.Errorf("draining took %v", took)
	}
	_, last := s.client.Connected()
	eventually(t, "gone", func() bool { var ok bool; ok, last = s.client.Connected(); return !ok })
	if last == nil || !strings.Contains(last.Error(), "Unavailable") {
		t.Errorf("the stream ended with %v", last)
	}
	if c, err := net.Dial("tcp", r.ports.xds.Addr().String()); err == nil {
		c.Close()
		t.Error("the port still takes connections")
	}
	r.stop() // no part failed by being drained
}

// TestNameTable: a proxy is told the names that the cluster's DNS does not know, and
// no others, and again when they change.
func TestNameTable(t *testing.T) {
	r := newReplica(t, nil, nil)
	r.core.Engine().SetWorkloads(nil)
	r.apply(`
apiVersion: v1
kind: Service
metadata: {name: known}
spec: {clusterIP: 10.96.0.7, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: ours}
spec: {ports: [{port: 80}]}
`)
	s := r.stream("curl", nil, proxy("curl-0", "default", "curl"), build.ClusterType, build.EndpointType, build.ListenerType, build.RouteType, wire.NameTableType)
	// table waits for a table with so many names: the first may come before them.
	table := func(size int) wire.NameTable {
		limit := time.After(20 * time.Second)
		var last wire.NameTable
		for {
			select {
			case x := <-s.got:
				if x.Name != wire.NameTableResource {
					continue
				}
				var err error
				if last, err = wire.UnmarshalNameTable(x.Body); err != nil {
					t.Fatal(err)
				}
				if len(last) == size {
					return last
				}
			case <-limit:
				t.Fatalf("names are %+v, want %d", last, size)
			}
		}
	}
	names := table(1)
	if n := names["ours.default.svc.cluster.local"]; len(n.Addrs) != 1 || n.Registry != wire.Kubernetes || n.ShortName != "ours" || n.Namespace != "default" {
		t.Errorf("names are %+v", names)
	}
	r.apply("apiVersion: v1\nkind: Service\nmetadata: {name: more}\nspec: {ports: [{port: 80}]}\n")
	table(2)
}

// TestPages: who sees what.
func TestPages(t *testing.T) {
	r := newReplica(t, nil, nil)
	r.core.Engine().SetWorkloads(nil)
	s := r.stream("curl", nil, proxy("curl-0", "default", "curl"), build.ClusterType, build.ListenerType)
	eventually(t, "connected", func() bool { return len(r.core.Proxies()) == 1 && r.core.Ready() == nil })
	_ = s
	get := func(path, from, token string) (int, string) {
		req, err := http.NewRequest(http.MethodGet, "http://"+r.ports.debug.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-From", from)
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	const far = "10.1.2.3:999"
	for _, path := range []string{
		"/debug/", "/debug/adsz", "/debug/connections", "/debug/syncz", "/debug/registryz", "/debug/endpointz", "/debug/configz", "/debug/mesh", "/debug/inject",
		"/debug/push_status", "/debug/status", "/debug/pprof/", "/debug/config_dump?proxyID=curl-0.default", "/v1/names?version=0", "/v1/objects", "/v1/proxies", "/v1/status",
	} {
		if code, body := get(path, "", ""); code != http.StatusOK || len(body) < 2 {
			t.Errorf("%s from loopback: %d %.200s", path, code, body)
		}
		if code, _ := get(path, far, ""); code != http.StatusUnauthorized {
			t.Errorf("%s of a stranger: %d", path, code)
		}
		if code, _ := get(path, far, "old"); code != http.StatusUnauthorized {
			t.Errorf("%s with an expired token: %d", path, code)
		}
		if code, _ := get(path, far, "istiod"); code != http.StatusOK {
			t.Errorf("%s for the system namespace: %d", path, code)
		}
	}
	for path, want := range map[string]int{
		"/debug/configz": http.StatusForbidden, "/v1/objects": http.StatusForbidden, "/debug/config_dump?proxyID=curl-0.default": http.StatusOK,
		"/debug/config_dump?proxyID=x.prod": http.StatusForbidden, "/debug/config_dump": http.StatusForbidden,
		"/v1/workloads": http.StatusForbidden, // like all that is the console's to answer
	} {
		if code, _ := get(path, far, "api"); code != want {
			t.Errorf("%s for the proxy's namespace: %d, want %d", path, code, want)
		}
	}
	for token, want := range map[string]bool{"curl": true, "prod": false} {
		for _, path := range []string{"/debug/syncz", "/v1/proxies"} {
			if code, body := get(path, far, token); code != http.StatusOK || strings.Contains(body, "curl-0.default") != want {
				t.Errorf("%s for %s: %d %s", path, token, code, body)
			}
		}
	}
	if code, body := get("/metrics", far, ""); code != http.StatusOK || !strings.Contains(body, "pilot_xds 1") || !strings.Contains(body, "citadel_server_csr_count") {
		t.Errorf("metrics: %d", code)
	}
}

// TestWebhookPort: TLS by the mesh's root, and the least version holds.
func TestWebhookPort(t *testing.T) {
	r := newReplica(t, nil, func(o *Options) { o.TLSMinVersion = "1.3" })
	c := r.tls(nil)
	h := &http.Client{Transport: &http.Transport{TLSClientConfig: c}}
	resp, err := h.Post("https://"+r.ports.webhooks.Addr().String()+"/validate", "application/json", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	old := r.tls(nil)
	old.MaxVersion = tls.VersionTLS12
	for _, l := range []net.Listener{r.ports.webhooks, r.ports.xds} {
		if conn, err := tls.Dial("tcp", l.Addr().String(), old); err == nil {
			conn.Close()
			t.Error("TLS 1.2 is spoken")
		}
	}
}

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"defaults":             {Options{}, ""},
		"a cipher suite":       {Options{TLSCipherSuites: []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"}}, ""},
		"an unknown suite":     {Options{TLSCipherSuites: []string{"NULL"}}, "not known"},
		"an insecure suite":    {Options{TLSCipherSuites: []string{"TLS_RSA_WITH_RC4_128_SHA"}}, "insecure"},
		"suites of TLS 1.3":    {Options{TLSMinVersion: "1.3", TLSCipherSuites: []string{"TLS_AES_128_GCM_SHA256"}}, "cannot be chosen"},
		"TLS 1.0":              {Options{TLSMinVersion: "1.0"}, "least version"},
		"lifetimes that clash": {Options{CertificateLifetime: 2 * time.Hour, LongestLifetime: time.Hour}, "may not ask for more"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := c.o.withDefaults()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	o, _ := Options{Revision: "canary"}.withDefaults()
	names := strings.Join(o.serverNames(), " ")
	for _, n := range []string{"istiod.istio-system.svc", "istiod-canary.istio-system.svc", "istiod-canary.istio-system.svc.cluster.local"} {
		if !strings.Contains(names, n) {
			t.Errorf("%s is missing in %s", n, names)
		}
	}
}
