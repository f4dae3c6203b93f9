package controlplane_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/controlplane"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/spiffe"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/xds/build"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

const services = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {selector: {app: reviews}, ports: [{name: http, port: 9080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
`

func routeTo(subset string) string {
	return fmt.Sprintf(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http: [{route: [{destination: {host: reviews, subset: %s}}]}]
`, subset)
}

// plane is a control plane that a test can stop and start again.
type plane struct {
	t        *testing.T
	dir, run string
	*controlplane.ControlPlane
	store *store.Store
	stop  func()
}

func newPlane(t *testing.T) *plane {
	t.Helper()
	run, err := os.MkdirTemp("", "cp") // a Unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	p := &plane{t: t, dir: t.TempDir(), run: filepath.Join(run, "r")}
	p.start()
	t.Cleanup(func() { p.stop() })
	return p
}

func (p *plane) start() {
	p.t.Helper()
	var err error
	p.store, err = store.Open(filepath.Join(p.dir, "config"), store.Options{Validate: validate.Error})
	if err != nil {
		p.t.Fatal(err)
	}
	p.ControlPlane, err = controlplane.New(controlplane.Config{
		Store: p.store, StateDir: p.dir, RuntimeDir: p.run, PlainAddr: "127.0.0.1:0", DebugAddr: "127.0.0.1:0", Version: "test",
		Log: slog.New(slog.NewTextHandler(p.t.Output(), nil)),
	})
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, p.store.Close()); err != nil {
			p.t.Error(err)
		}
	})
}

func (p *plane) apply(text string) int64 {
	p.t.Helper()
	list, err := api.Decode(strings.NewReader(text), "test.yaml")
	if err != nil {
		p.t.Fatal(err)
	}
	r, err := p.store.Apply(list)
	if err != nil {
		p.t.Fatal(err)
	}
	return r.Revision
}

func (p *plane) socket() string { return "unix://" + filepath.Join(p.run, controlplane.XDSSocket) }

func node(name, ip, account string) *corev3.Node {
	md, err := structpb.NewStruct(map[string]any{
		"NAME": name, "NAMESPACE": "default", "SERVICE_ACCOUNT": account, "INSTANCE_IPS": ip,
		"LABELS": map[string]any{"app": "curl"}, "INTERCEPTION_MODE": "REDIRECT", "LATEEN_DATA_PLANE": "native",
	})
	if err != nil {
		panic(err)
	}
	return &corev3.Node{Id: "sidecar~" + ip + "~" + name + ".default~default.svc.cluster.local", Metadata: md, UserAgentName: "lateen-proxy"}
}

// sidecar is a proxy that only takes configuration.
type sidecar struct {
	client *client.Client

	mu     sync.Mutex
	have   map[string]string // by type and name, the body
	took   int               // responses
	refuse func(name string) error
}

func (s *sidecar) Update(_ context.Context, typeURL string, added []client.Resource, removed []string) map[string]error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.took++
	rejected := map[string]error{}
	for _, r := range added {
		if s.refuse != nil {
			if err := s.refuse(r.Name); err != nil {
				rejected[r.Name] = err
				continue
			}
		}
		s.have[typeURL+" "+r.Name] = string(r.Body)
		if typeURL == build.ClusterType && strings.HasPrefix(r.Name, "outbound|") {
			s.client.Subscribe(build.EndpointType, r.Name)
		}
		if port, ok := strings.CutPrefix(r.Name, "0.0.0.0_"); ok && typeURL == build.ListenerType {
			s.client.Subscribe(build.RouteType, port) // the table of a port's services
		}
	}
	for _, n := range removed {
		delete(s.have, typeURL+" "+n)
	}
	return rejected
}

func (s *sidecar) get(typeURL, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.have[typeURL+" "+name]
}

func (s *sidecar) responses() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.took
}

func (p *plane) sidecar(name, ip string) *sidecar {
	p.t.Helper()
	s := &sidecar{have: map[string]string{}}
	tokens := p.Tokens() // its key outlives a restart
	var err error
	s.client, err = client.New(client.Options{
		Target: p.socket(), Node: node(name, ip, "curl"), MinBackoff: 10 * time.Millisecond,
		Token: func() (string, error) {
			return tokens.Issue(ca.Workload{Namespace: "default", ServiceAccount: "curl", Instance: name}, time.Hour)
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	s.client.Subscribe(build.ClusterType, client.Wildcard)
	s.client.Subscribe(build.ListenerType, client.Wildcard)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.client.Run(ctx, s) }()
	p.t.Cleanup(func() { cancel(); <-done })
	return s
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for limit := time.Now().Add(5 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("never: %s", what)
		}
	}
}

func reviews(version string, n byte, ready bool) registry.Workload {
	return registry.Workload{
		Name: fmt.Sprintf("reviews-%s-%d", version, n), Namespace: "default", Owner: "reviews-" + version, ServiceAccount: "reviews",
		Labels: map[string]string{"app": "reviews", "version": version}, Addr: netip.AddrFrom4([4]byte{10, 244, 0, n}), Ready: ready, Proxied: true,
	}
}

func (p *plane) wait(revision int64) configapi.Report {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
	defer cancel()
	r, err := configapi.NewClient(filepath.Join(p.run, controlplane.ConfigSocket)).Wait(ctx, revision, 4*time.Second)
	if err != nil {
		p.t.Fatal(err)
	}
	return r
}

// TestChange follows a change from the configuration API to the proxies and back.
func TestChange(t *testing.T) {
	p := newPlane(t)
	p.apply(services)
	s := p.sidecar("curl-0", "10.244.0.200")
	p.SetWorkloads([]registry.Workload{reviews("v1", 1, true), reviews("v2", 2, true)})
	revision := p.apply(routeTo("v1"))
	eventually(t, "the proxy is connected", func() bool { return len(p.Proxies()) == 1 })
	r := p.wait(revision)
	if !r.Done() || len(r.Proxies) != 1 || r.Proxies[0].Proxy != "curl-0.default" {
		t.Fatalf("report %+v", r)
	}
	if table := s.get(build.RouteType, "9080"); !strings.Contains(table, "outbound|9080|v1|reviews") {
		t.Errorf("the route is not in force: %q", table)
	}
	before := s.responses()
	if r := p.wait(p.apply(routeTo("v2"))); !r.Done() {
		t.Fatalf("report %+v", r)
	}
	if table := s.get(build.RouteType, "9080"); !strings.Contains(table, "outbound|9080|v2|reviews") {
		t.Errorf("the change is not in force when Wait returns: %q", table)
	}
	if n := s.responses() - before; n != 1 {
		t.Errorf("%d responses for one changed route table", n)
	}
	status := p.Proxies()[0]
	for typ, st := range status.Types {
		if want := push.Synced; st.State != want && typ != "sds" {
			t.Errorf("%s is %s", typ, st.State)
		}
	}
	// A revision that does not come is told, not waited for forever.
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Wait(ctx, revision+1000); err == nil {
		t.Error("a revision of the future is in force")
	}
}

// TestRefusal: what a proxy refuses is told with the object behind it, and the
// proxy gets the correction.
func TestRefusal(t *testing.T) {
	p := newPlane(t)
	p.apply(services)
	p.SetWorkloads(nil)
	s := p.sidecar("curl-0", "10.244.0.200")
	s.mu.Lock()
	s.refuse = func(name string) error {
		if name == "9080" {
			return errors.New("no such thing")
		}
		return nil
	}
	s.mu.Unlock()
	eventually(t, "the proxy is connected", func() bool { return len(p.Proxies()) == 1 })
	r := p.wait(p.apply(routeTo("v1")))
	if r.Done() || len(r.Proxies) != 1 || r.Proxies[0].State != configapi.Rejected || r.Proxies[0].Object != "VirtualService default/reviews" ||
		!strings.Contains(r.Proxies[0].Reason, "no such thing") {
		t.Fatalf("report %+v", r)
	}
	statuses, _ := p.Statuses()
	found := false
	for _, v := range statuses {
		found = found || v.Name == "reviews" && strings.Contains(v.Message, "curl-0.default refuses RouteConfiguration 9080")
	}
	if !found {
		t.Errorf("no verdict on the refusal in %v", statuses)
	}
	// A change that has nothing to do with it is in force.
	if r := p.wait(p.apply("apiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec: {ports: [{name: http, port: 80}]}\n")); !r.Done() {
		t.Errorf("another change: %+v", r)
	}
	s.mu.Lock()
	s.refuse = nil
	s.mu.Unlock()
	if r := p.wait(p.apply(routeTo("v2"))); !r.Done() {
		t.Errorf("after the correction: %+v", r)
	}
}

// TestRestart: a control plane that comes back sends a proxy nothing that it has,
// withdraws nothing before it knows the workloads, and the next change acts.
func TestRestart(t *testing.T) {
	p := newPlane(t)
	p.apply(services)
	workloads := []registry.Workload{reviews("v1", 1, true), reviews("v2", 2, true)}
	p.SetWorkloads(workloads)
	s := p.sidecar("curl-0", "10.244.0.200")
	eventually(t, "the proxy is connected", func() bool { return len(p.Proxies()) == 1 })
	if r := p.wait(p.apply(routeTo("v1"))); !r.Done() {
		t.Fatalf("%+v", r)
	}
	p.stop()
	before := s.responses()
	p.start()
	eventually(t, "the proxy is back", func() bool { return len(p.Proxies()) == 1 })
	time.Sleep(100 * time.Millisecond)
	if n := s.responses(); n != before {
		t.Errorf("%d responses before the workloads are known", n-before)
	}
	p.SetWorkloads(workloads)
	eventually(t, "the proxy is synced", func() bool { l := p.Proxies(); return len(l) == 1 && l[0].Waiting == "" && l[0].Offered > 0 })
	if n := s.responses(); n != before {
		t.Errorf("%d responses for what the proxy has", n-before)
	}
	if r := p.wait(p.apply(routeTo("v2"))); !r.Done() {
		t.Errorf("%+v", r)
	}
	if table := s.get(build.RouteType, "9080"); !strings.Contains(table, "outbound|9080|v2|reviews") {
		t.Error("the change after the restart does not act")
	}
}

// TestIdentity: a workload gets its certificate over the socket, and neither
// another's certificate nor another's configuration.
func TestIdentity(t *testing.T) {
	p := newPlane(t)
	conn, err := grpc.NewClient(p.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	tokens := p.Tokens()
	token := func() (string, error) {
		return tokens.Issue(ca.Workload{Namespace: "default", ServiceAccount: "curl", Instance: "curl-0"}, time.Hour)
	}
	get := func(account string) error {
		id := identity.New(identity.Options{ID: spiffe.ID{TrustDomain: "cluster.local", Namespace: "default", ServiceAccount: account}, Issuer: identity.NewIssuer(conn, token)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- id.Run(ctx) }()
		defer func() { cancel(); <-done }()
		soon, stop := context.WithTimeout(ctx, time.Second)
		defer stop()
		return id.Wait(soon)
	}
	if err := get("curl"); err != nil {
		t.Error(err)
	}
	if err := get("admin"); err == nil {
		t.Error("a workload has another's certificate")
	}
	c, err := client.New(client.Options{Target: p.socket(), Node: node("admin-0", "10.244.0.3", "admin"), Token: token})
	if err != nil {
		t.Fatal(err)
	}
	c.Subscribe(build.ClusterType, client.Wildcard)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.Run(ctx, client.HandlerFunc(func(context.Context, string, []client.Resource, []string) map[string]error { return nil }))
	}()
	eventually(t, "the stream is refused", func() bool {
		_, err := c.Connected()
		return err != nil && strings.Contains(err.Error(), "the caller is default/curl")
	})
	cancel()
	<-done
}

// TestSupervisor does what a supervisor of a control plane in another process does.
func TestSupervisor(t *testing.T) {
	p := newPlane(t)
	p.apply(services)
	m := meshapi.NewClient(filepath.Join(p.run, controlplane.MeshSocket))
	if err := m.SetWorkloads(t.Context(), []registry.Workload{reviews("v1", 1, true)}); err != nil {
		t.Fatal(err)
	}
	names, err := m.Names(t.Context(), 0)
	if err != nil || len(names.Hosts["reviews.default.svc.cluster.local"]) != 1 {
		t.Fatalf("%v, %v", names, err)
	}
	later := make(chan meshapi.Names, 1)
	go func() {
		n, err := m.Names(t.Context(), names.Version)
		if err != nil {
			t.Error(err)
		}
		later <- n
	}()
	select {
	case n := <-later:
		t.Errorf("the long poll does not wait: %v", n)
	case <-time.After(50 * time.Millisecond):
	}
	p.apply("apiVersion: v1\nkind: Service\nmetadata: {name: other}\nspec: {ports: [{name: http, port: 80}]}\n")
	if n := <-later; n.Version <= names.Version || len(n.Hosts["other.default.svc.cluster.local"]) != 1 {
		t.Errorf("names %v", n)
	}
	p.sidecar("curl-0", "10.244.0.200")
	eventually(t, "the proxy is listed", func() bool {
		l, err := m.Proxies(t.Context())
		return err == nil && len(l) == 1 && l[0].Waiting == "" && l[0].Identity == "default/curl"
	})
}

func TestDebug(t *testing.T) {
	p := newPlane(t)
	get := func(path string) (int, string) {
		resp, err := http.Get("http://" + p.DebugAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	if code, text := get("/ready"); code != 503 || !strings.Contains(text, "workloads are not known") {
		t.Errorf("ready before the workloads are known: %d %s", code, text)
	}
	p.apply(services)
	p.SetWorkloads([]registry.Workload{reviews("v1", 1, true)})
	p.sidecar("curl-0", "10.244.0.200")
	eventually(t, "the proxy is synced", func() bool { l := p.Proxies(); return len(l) == 1 && l[0].Waiting == "" })
	for path, want := range map[string]string{
		"/ready":       "ready",
		"/version":     `"version": "test"`,
		"/metrics":     "pilot_xds 1",
		"/debug/syncz": "SYNCED",
		"/debug/config_dump?proxyID=curl-0.default": "outbound|9080|v1|reviews.default.svc.cluster.local",
		"/debug/endpointz":                          "10.244.0.1:9080",
		"/debug/status":                             "DestinationRule",
	} {
		if code, text := get(path); code != 200 || !strings.Contains(text, want) {
			t.Errorf("%s: %d, %q is missing in %.2000s", path, code, want, text)
		}
	}
	for _, metric := range []string{`pilot_xds_pushes{type="cds"}`, "pilot_proxy_convergence_time_count"} {
		if _, text := get("/metrics"); !strings.Contains(text, metric) {
			t.Errorf("the metric %s is missing", metric)
		}
	}
	for path, want := range map[string]int{"/debug/config_dump": 400, "/debug/config_dump?proxyID=x": 404, "/nothing": 404} {
		if code, _ := get(path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
}

// TestPlain: tools see what a proxy would get, but neither secrets, nor does
// anybody wait for them.
func TestPlain(t *testing.T) {
	p := newPlane(t)
	p.SetWorkloads(nil)
	revision := p.apply(services)
	ask := func(typeURL string, refuse error) (*client.Client, chan string) {
		names := make(chan string, 64)
		c, err := client.New(client.Options{Target: p.PlainXDS(), Node: node("tool-0", "10.244.0.3", "any")})
		if err != nil {
			t.Fatal(err)
		}
		c.Subscribe(typeURL, client.Wildcard)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() {
			done <- c.Run(ctx, client.HandlerFunc(func(_ context.Context, _ string, added []client.Resource, _ []string) map[string]error {
				rejected := map[string]error{}
				for _, r := range added {
					names <- r.Name
					rejected[r.Name] = refuse
				}
				return rejected
			}))
		}()
		t.Cleanup(func() { cancel(); <-done })
		return c, names
	}
	_, clusters := ask(build.ClusterType, errors.New("a tool that refuses everything"))
	if name := <-clusters; name == "" {
		t.Error("no cluster")
	}
	if r := p.wait(revision); !r.Done() || len(r.Proxies) != 0 || len(p.Proxies()) != 0 {
		t.Errorf("somebody waits for a tool: %+v", r)
	}
	secrets, _ := ask(build.SecretType, nil)
	time.Sleep(200 * time.Millisecond)
	if ok, err := secrets.Connected(); ok || err != nil { // a type that is served is answered, if with nothing
		t.Errorf("secrets are answered, or the stream ended: %v", err)
	}
}

// TestTwoConnections: a broken stream that nobody noticed yet is not waited for.
func TestTwoConnections(t *testing.T) {
	p := newPlane(t)
	p.SetWorkloads(nil)
	p.apply(services)
	stuck := p.sidecar("curl-0", "10.244.0.200")
	eventually(t, "the first is connected", func() bool { l := p.Proxies(); return len(l) == 1 && l[0].Waiting == "" })
	stuck.mu.Lock() // it does not answer any more
	defer stuck.mu.Unlock()
	since := p.Proxies()[0].Since
	p.sidecar("curl-0", "10.244.0.200")
	eventually(t, "the second is connected", func() bool { l := p.Proxies(); return len(l) == 1 && l[0].Since != since })
	if r := p.wait(p.apply(routeTo("v1"))); !r.Done() || len(r.Proxies) != 1 {
		t.Errorf("%+v", r)
	}
}

func TestNewRefuses(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for name, cfg := range map[string]controlplane.Config{
		"no store":        {StateDir: t.TempDir(), RuntimeDir: t.TempDir()},
		"open plain xDS":  {Store: s, StateDir: t.TempDir(), RuntimeDir: t.TempDir(), PlainAddr: "0.0.0.0:0"},
		"bad address":     {Store: s, StateDir: t.TempDir(), RuntimeDir: t.TempDir(), DebugAddr: "here"},
		"no trust domain": {Store: s, StateDir: t.TempDir(), RuntimeDir: t.TempDir(), TrustDomain: "Not A Domain"},
	} {
		if cp, err := controlplane.New(cfg); err == nil {
			t.Errorf("%s is taken", name)
			cp.Close()
		}
	}
}
