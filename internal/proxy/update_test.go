package proxy_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/lateen-mesh/lateen/internal/proxy"
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

// subscriptions is a Source that the test feeds by hand.
type subscriptions struct {
	mu    sync.Mutex
	names map[string][]string
}

func (s *subscriptions) Run(ctx context.Context, _ client.Handler) error { <-ctx.Done(); return nil }

func (s *subscriptions) Subscribe(url string, names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names == nil {
		s.names = map[string][]string{}
	}
	s.names[url] = append(s.names[url], names...)
}

func (s *subscriptions) Unsubscribe(url string, names ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names[url] = slices.DeleteFunc(s.names[url], func(n string) bool { return slices.Contains(names, n) })
}

func (s *subscriptions) of(url string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.names[url], " ")
}

// fed is a running proxy that the test updates directly.
type fed struct {
	*proxy.Proxy
	t    *testing.T
	subs *subscriptions
}

func newFed(t *testing.T, change func(*proxy.Options)) *fed {
	t.Helper()
	f := &fed{t: t, subs: &subscriptions{}}
	o := proxy.Options{Node: node("w", "v1"), Sockets: rawio.HostSockets{}, Source: f.subs}
	if change != nil {
		change(&o)
	}
	var err error
	if f.Proxy, err = proxy.New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f
}

// update gives the proxy one resource, as JSON with its type.
func (f *fed) update(name, text string) error {
	f.t.Helper()
	a := &anypb.Any{}
	if err := protojson.Unmarshal([]byte(text), a); err != nil {
		f.t.Fatalf("%s: %v\n%s", name, err, text)
	}
	return f.Update(context.Background(), a.TypeUrl, []client.Resource{{Name: name, Version: "1", Body: a.Value}}, nil)[name]
}

func (f *fed) must(name, text string) {
	f.t.Helper()
	if err := f.update(name, text); err != nil {
		f.t.Fatalf("%s: %v", name, err)
	}
}

func TestSubscriptionsFollowReferences(t *testing.T) {
	f := newFed(t, nil)
	f.must(reviews, eds(reviews))
	f.must("0.0.0.0_9080", outbound(""))
	if got := f.subs.of(config.EndpointsURL); got != reviews {
		t.Errorf("endpoints: %q", got)
	}
	if got := f.subs.of(config.RouteURL); got != "9080" {
		t.Errorf("routes: %q", got)
	}
	if f.Ready() || len(f.Listeners()) != 0 {
		t.Error("the listener does not wait for its routes")
	}
	f.must("9080", routeTable("r", reviews))
	if len(f.Listeners()) != 0 {
		t.Error("the routes do not wait for their cluster's endpoints")
	}
	// The control plane says that there are none: nothing waits any longer.
	f.Update(context.Background(), config.EndpointsURL, nil, []string{reviews})
	eventually(t, func() string {
		if !f.Ready() || len(f.Listeners()) != 1 {
			return "not ready"
		}
		return ""
	})
	f.Update(context.Background(), config.ListenerURL, nil, []string{"0.0.0.0_9080"})
	f.Update(context.Background(), config.ClusterURL, nil, []string{reviews})
	if r, e := f.subs.of(config.RouteURL), f.subs.of(config.EndpointsURL); r != "" || e != "" {
		t.Errorf("still subscribed to %q and %q", r, e)
	}
}

func TestEqualResourceChangesNothing(t *testing.T) {
	f := newFed(t, nil)
	f.must("c", static("c", netip.MustParseAddrPort("127.0.0.1:1")))
	text := tcpListener("l", "OUTBOUND", "c", "", "", "")
	f.must("l", text)
	before := f.Listeners()[0]
	f.must("l", text)
	if after := f.Listeners()[0]; after.Config != before.Config || after.Bound[0] != before.Bound[0] {
		t.Error("an equal listener was exchanged")
	}
	f.must("l", strings.Replace(text, `"name":"l"`, `"name":"l","continue_on_listener_filters_timeout":true`, 1))
	after := f.Listeners()[0]
	if after.Config == before.Config || after.Config.Chains[0].Runtime != before.Config.Chains[0].Runtime || after.Bound[0] != before.Bound[0] {
		t.Error("a listener's change did not keep its chain and socket")
	}
}

func TestUnboundListenerIsRejectedAndTriedAgain(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := newFed(t, nil)
	f.must("c", static("c", netip.MustParseAddrPort("127.0.0.1:1")))
	port := taken.Addr().(*net.TCPAddr).Port
	err = f.update("l", strings.Replace(tcpListener("l", "OUTBOUND", "c", "", "", ""), `"port_value":0`, fmt.Sprintf(`"port_value":%d`, port), 1))
	if err == nil || !strings.Contains(err.Error(), "cannot bind 127.0.0.1:") {
		t.Errorf("%v", err)
	}
	if f.Ready() {
		t.Error("ready without its listener")
	}
	taken.Close()
	eventually(t, func() string {
		if len(f.Listeners()) == 0 || !f.Ready() {
			return "the listener is not tried again"
		}
		return ""
	})
}

func TestUnknownTypesAndFiltersAreRejected(t *testing.T) {
	f := newFed(t, nil)
	got := f.Update(context.Background(), "type.googleapis.com/x.Y", []client.Resource{{Name: "a"}}, nil)
	if got["a"] == nil {
		t.Error("an unknown type is accepted")
	}
	bad := strings.Replace(outbound(""), "io.istio.http.peer_metadata.Config", "io.istio.Nope", 1)
	if err := f.update("l", bad); err == nil || !strings.Contains(err.Error(), "io.istio.Nope") {
		t.Errorf("%v", err)
	}
}

// TestGatewaySecretOverADS: a gateway's certificate comes over ADS, by the name
// that its listener gives.
func TestGatewaySecretOverADS(t *testing.T) {
	f := newFed(t, func(o *proxy.Options) { o.Node.Id = strings.Replace(o.Node.Id, "sidecar~", "router~", 1) })
	app := application(t, echo)
	f.must("c", static("c", app))
	routing := `"route_config":{"name":"r","virtual_hosts":[{"name":"v","domains":["*"],"routes":[{"match":{"prefix":"/"},"route":{"cluster":"c"}}]}]}`
	f.must("gw", `{"@type":"type.googleapis.com/envoy.config.listener.v3.Listener","name":"gw","traffic_direction":"OUTBOUND","address":{"socket_address":{"address":"127.0.0.1","port_value":0}},
 "filter_chains":[{"filters":[`+hcmFilter("outbound", routing, `"server_name":"istio-envoy",`)+`],"transport_socket":{"name":"tls","typed_config":{"@type":"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
 "common_tls_context":{"alpn_protocols":["h2","http/1.1"],"tls_certificate_sds_secret_configs":[{"name":"kubernetes://web","sds_config":{"ads":{},"resource_api_version":"V3"}}]}}}}]}`)
	if got := f.subs.of(proxy.SecretURL); got != "kubernetes://web" {
		t.Fatalf("secrets: %q", got)
	}
	sec := newAuthority(t).identity(t, "web")["default"]
	key, err := x509.MarshalPKCS8PrivateKey(sec.Certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	quote := func(kind string, der []byte) string {
		b, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	f.must("kubernetes://web", `{"@type":"`+proxy.SecretURL+`","name":"kubernetes://web","tls_certificate":{"certificate_chain":{"inline_string":`+
		quote("CERTIFICATE", sec.Certificate.Certificate[0])+`},"private_key":{"inline_string":`+quote("PRIVATE KEY", key)+`}}}`)
	tr := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest("GET", "https://"+f.Listeners()[0].Bound[0].String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Envoy-Peer-Metadata", "forged")
	req.Header.Set("X-Lateen-Reason", "forged")
	resp, err := (&http.Client{Transport: tr}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	if _, err := body.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.ProtoMajor != 2 || strings.Contains(body.String(), "forged") || resp.Header.Get("Server") != "istio-envoy" {
		t.Errorf("%d %s %v\n%s", resp.StatusCode, resp.Proto, resp.Header, body.String())
	}
	dump, err := f.ConfigDump()
	if err != nil || !strings.Contains(string(dump), "W3JlZGFjdGVkXQ==") || strings.Contains(string(dump), "PRIVATE KEY") {
		t.Errorf("the dump shows a key, or no secret: %v", err)
	}
}
