package pod

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func span(d time.Duration) *time.Duration { return &d }

func TestParseProxyConfig(t *testing.T) {
	one := 0
	for _, x := range []struct {
		name, text string
		want       ProxyConfig
		err        string
	}{
		{"none", "", ProxyConfig{}, ""},
		{"JSON names", `{"discoveryAddress":"a:1","drainDuration":"45s","terminationDrainDuration":"1.5s","concurrency":0,"meshId":"m","statusPort":1,"proxyAdminPort":2}`,
			ProxyConfig{DiscoveryAddress: "a:1", DrainDuration: span(45 * time.Second), TerminationDrainDuration: span(1500 * time.Millisecond), Concurrency: &one, MeshID: "m", StatusPort: 1, ProxyAdminPort: 2}, ""},
		{"proto names", `{"discovery_address":"a:1","proxy_metadata":{"A":"b"}}`, ProxyConfig{DiscoveryAddress: "a:1", ProxyMetadata: map[string]string{"A": "b"}}, ""},
		{"nobody's and others'", `{"statNameLength":1,"tracing":{},"holdApplicationUntilProxyStarts":true,"new":[1]}`, ProxyConfig{Ignored: []string{"new", "statNameLength"}}, ""},
		{"null", `{"discoveryAddress":null}`, ProxyConfig{}, ""},
		{"no JSON", `discoveryAddress: a`, ProxyConfig{}, "PROXY_CONFIG"},
		{"wrong type", `{"concurrency":"two"}`, ProxyConfig{}, "concurrency"},
		{"no duration", `{"drainDuration":"45"}`, ProxyConfig{}, "drainDuration"},
		{"negative", `{"drainDuration":"-1s"}`, ProxyConfig{}, "negative"},
	} {
		t.Run(x.name, func(t *testing.T) {
			got, err := ParseProxyConfig(x.text)
			if x.err != "" {
				if err == nil || !strings.Contains(err.Error(), x.err) {
					t.Fatalf("error %v, want one with %q", err, x.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(x.want, got); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestParseDownward(t *testing.T) {
	got, err := ParseDownward([]byte("app=\"cart\"\n\nnote=\"two\\nlines = \\\"x\\\"\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"app": "cart", "note": "two\nlines = \"x\""}, got); d != "" {
		t.Error(d)
	}
	for _, bad := range []string{"app", "=\"x\"", "app=cart", "app=\"cart"} {
		if m, err := ParseDownward([]byte(bad)); err == nil {
			t.Errorf("%q gives %v", bad, m)
		}
	}
}

func FuzzParseDownward(f *testing.F) {
	f.Add([]byte("app=\"cart\"\nnote=\"a\\tb\"\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseDownward(text)
		if err != nil {
			return
		}
		for k := range m {
			if k == "" || strings.Contains(k, "=") {
				t.Errorf("key %q", k)
			}
		}
	})
}

func FuzzParseProxyConfig(f *testing.F) {
	f.Add(`{"discovery_address":"a:1","drainDuration":"1s"}`)
	f.Fuzz(func(t *testing.T, text string) {
		c, err := ParseProxyConfig(text)
		if err == nil && c.DrainDuration != nil && *c.DrainDuration < 0 {
			t.Error("a negative duration passes")
		}
	})
}

// contract is the environment that the injector gives.
func contract(more ...string) func(string) string {
	env := map[string]string{
		"POD_NAME": "cart-0", "POD_NAMESPACE": "shop", "INSTANCE_IP": "10.0.0.7", "INSTANCE_IPS": "fd00::7, 10.0.0.7", "SERVICE_ACCOUNT": "cart",
		"PROXY_CONFIG": `{"proxyMetadata":{"ISTIO_META_DNS_CAPTURE":"true","EXIT_ON_ZERO_ACTIVE_CONNECTIONS":"true","ISTIO_META_A":"metadata"}}`,
	}
	for i := 0; i+1 < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	return func(name string) string { return env[name] }
}

func TestRead(t *testing.T) {
	s, err := Read(contract("MINIMUM_DRAIN_DURATION", "7s", "SECRET_TTL", "1h", "SECRET_GRACE_PERIOD_RATIO", "0.25", "LATEEN_KEEP_KEY", "never", "LATEEN_START_FROM_CACHE", "never"), "/x")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"10.0.0.7", "fd00::7"}, s.IPs); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(Drain{Termination: 5 * time.Second, UntilIdle: true, Minimum: 7 * time.Second}, s.Drain); d != "" {
		t.Error(d)
	}
	if s.Discovery != "istiod.istio-system.svc:15012" || s.CA != s.Discovery || s.TokenFile != "/x/var/run/secrets/tokens/istio-token" || s.RootFile != "/x/var/run/secrets/istio/root-cert.pem" {
		t.Errorf("%+v", s)
	}
	if s.CertLifetime != time.Hour || s.CertGrace != 0.25 {
		t.Errorf("%+v", s)
	}
	if !s.DNS || s.KeepKey || s.FromCache >= 0 || s.Role != Sidecar || s.Admin != "127.0.0.1:15000" || s.Agent != ":15020" || s.Readiness != ":15021" {
		t.Errorf("%+v", s)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, x := range map[string]struct {
		env []string
		err string
	}{
		"no pod":         {[]string{"POD_NAME", ""}, "POD_NAME"},
		"no address":     {[]string{"INSTANCE_IP", "", "INSTANCE_IPS", ""}, "INSTANCE_IP"},
		"bad address":    {[]string{"INSTANCE_IPS", "ten"}, "ten"},
		"role":           {[]string{"LATEEN_ROLE", "boss"}, "boss"},
		"CA":             {[]string{"CA_ADDR", "nowhere"}, "nowhere"},
		"provider":       {[]string{"PILOT_CERT_PROVIDER", "none"}, "none"},
		"switch":         {[]string{"ISTIO_META_DNS_CAPTURE", "perhaps"}, "perhaps"},
		"span":           {[]string{"MINIMUM_DRAIN_DURATION", "5"}, "MINIMUM_DRAIN_DURATION"},
		"keep":           {[]string{"LATEEN_KEEP_KEY", "disk"}, "disk"},
		"grace":          {[]string{"SECRET_GRACE_PERIOD_RATIO", "1.5"}, "1.5"},
		"cache":          {[]string{"LATEEN_START_FROM_CACHE", "-1s"}, "negative"},
		"PROXY_CONFIG":   {[]string{"PROXY_CONFIG", "{"}, "PROXY_CONFIG"},
		"bad drain time": {[]string{"PROXY_CONFIG", `{"terminationDrainDuration":5}`}, "terminationDrainDuration"},
	} {
		t.Run(name, func(t *testing.T) {
			if s, err := Read(contract(x.env...), "/"); err == nil || !strings.Contains(err.Error(), x.err) {
				t.Errorf("error %v, want one with %q; %+v", err, x.err, s)
			}
		})
	}
}

func TestNode(t *testing.T) {
	root := t.TempDir()
	s, err := Read(contract("LATEEN_ROLE", "router"), root)
	if err != nil {
		t.Fatal(err)
	}
	put := func(name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put(labelsFile, "app=\"cart\"\n")
	put(annotationsFile, "sidecar.istio.io/inject=\"true\"\nkubectl.kubernetes.io/last-applied-configuration=\"long\"\n")
	n, err := s.Node([]string{"ISTIO_META_A=own", "ISTIO_META_POD_PORTS=[{\"containerPort\":80}]", "ISTIO_METAJSON_B={\"x\":1}", "ISTIO_META_EMPTY=", "PATH=/bin"}, Native)
	if err != nil {
		t.Fatal(err)
	}
	if n.GetId() != "router~10.0.0.7~cart-0.shop~shop.svc.cluster.local" {
		t.Error(n.GetId())
	}
	want := map[string]any{
		"A": "own", "B": map[string]any{"x": 1.0}, "POD_PORTS": []any{map[string]any{"containerPort": 80.0}}, "DNS_CAPTURE": "true",
		"NAME": "cart-0", "NAMESPACE": "shop", "ISTIO_VERSION": IstioVersion, "INSTANCE_IPS": "10.0.0.7,fd00::7", "SERVICE_ACCOUNT": "cart", "LATEEN_DATA_PLANE": "native", "LATEEN_BYPASS": "uid", "MESH_ID": "cluster.local",
		"LABELS": map[string]any{"app": "cart"}, "ANNOTATIONS": map[string]any{"sidecar.istio.io/inject": "true"},
	}
	if d := cmp.Diff(want, n.GetMetadata().AsMap()); d != "" {
		t.Error(d)
	}
	put(labelsFile, "broken")
	if _, err := s.Node(nil, Native); err == nil {
		t.Error("a broken file passes")
	}
	if _, err := s.Node([]string{"ISTIO_METAJSON_B={"}, Native); err == nil {
		t.Error("broken JSON passes")
	}
}

// TestWatch: each change is told once, also that a file comes and goes.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "labels")
		calls := 0
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); Watch(ctx, time.Second, func() { calls++ }, path) }()
		step := func(want int, change func() error) {
			t.Helper()
			synctest.Wait()
			if err := change(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
			synctest.Wait()
			if calls != want {
				t.Errorf("%d calls, want %d", calls, want)
			}
		}
		step(0, func() error { return nil })
		step(1, func() error { return os.WriteFile(path, []byte("a"), 0o644) })
		step(1, func() error { return os.WriteFile(path, []byte("a"), 0o644) })
		step(2, func() error { return os.WriteFile(path, []byte("b"), 0o644) })
		step(3, func() error { return os.Remove(path) })
		cancel()
		<-done
	})
}

func TestCamel(t *testing.T) {
	for in, want := range map[string]string{"drain_duration": "drainDuration", "drainDuration": "drainDuration", "a__b_": "aB"} {
		if got := camel(in); got != want {
			t.Errorf("camel(%q) = %q, want %q", in, got, want)
		}
	}
}
