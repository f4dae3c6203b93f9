package istioapi

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	meshconfig "istio.io/api/mesh/v1alpha1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// everySetting sets each field of MeshConfig that is in mesh.Settings.
const everySetting = `
trustDomain: mesh.example
trustDomainAliases: [old.example]
rootNamespace: root
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
defaultServiceExportTo: ["."]
defaultVirtualServiceExportTo: [a, "*"]
defaultDestinationRuleExportTo: [b]
connectTimeout: 2s
tcpKeepalive: {probes: 3, time: 4s, interval: 5s}
enableAutoMtls: false
dnsRefreshRate: 7s
h2UpgradePolicy: UPGRADE
protocolDetectionTimeout: 8s
defaultHttpRetryPolicy: {attempts: 9, retryOn: "5xx,503"}
defaultTrafficPolicy: {connectionPool: {tcp: {maxConnections: 10}}, outlierDetection: {interval: 11s}}
localityLbSetting: {enabled: false, failover: [{from: a, to: b}], failoverPriority: [x]}
pathNormalization: {normalization: MERGE_SLASHES}
defaultConfig:
  gatewayTopology: {numTrustedProxies: 2, forwardClientCertDetails: SANITIZE, proxyProtocol: {}}
  proxyHeaders:
    forwardedClientCert: FORWARD_ONLY
    setCurrentClientCertDetails: {subject: false, cert: true, dns: false, uri: false}
    requestId: {disabled: true}
    server: {disabled: true, value: x}
    attemptCount: {disabled: true}
    envoyDebugHeaders: {disabled: true}
    preserveHttp1HeaderCase: true
    xForwardedHost: {enabled: true}
    xForwardedPort: {enabled: true}
`

func meshMap(text string) []*api.Object {
	objs, err := api.Decode(strings.NewReader("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata:\n  mesh: |\n"+
		strings.ReplaceAll("\n"+text, "\n", "\n    ")), "-")
	if err != nil {
		panic(err)
	}
	return objs
}

func TestSettings(t *testing.T) {
	cfg, _ := Read(meshMap(everySetting))
	at := verdict.Origin{Ref: verdict.Ref{Kind: "ConfigMap", Namespace: "istio-system", Name: "istio"}}
	yes := true
	want := mesh.Settings{
		Origin: at, TrustDomain: "mesh.example", TrustDomainAliases: []string{"old.example"}, RootNamespace: "root",
		Outbound: mesh.RegistryOnly, ServiceExportTo: []string{"."}, RouteExportTo: []string{"a", "*"}, PolicyExportTo: []string{"b"},
		ConnectTimeout: 2 * time.Second, KeepAlive: &mesh.KeepAlive{Probes: 3, Time: 4 * time.Second, Interval: 5 * time.Second},
		ManualMTLS: true, DNSRefresh: 7 * time.Second, UpgradeHTTP: true, DetectionTimeout: 8 * time.Second,
		Retries:  &mesh.Retries{Attempts: 9, On: []string{"5xx"}, Statuses: []uint32{503}, AvoidPrevious: true},
		Pool:     &mesh.Pool{Origin: at.At("defaultTrafficPolicy.connectionPool"), MaxConnections: 10},
		Outlier:  &mesh.Outlier{Origin: at.At("defaultTrafficPolicy.outlierDetection"), Interval: 11 * time.Second},
		Locality: &mesh.LocalitySetting{Origin: at.At("localityLbSetting"), Disabled: true, Failover: []mesh.Failover{{From: "a", To: "b"}}, Priority: []string{"x"}},
		Paths:    mesh.PathMergeSlashes,
		Topology: mesh.Topology{TrustedProxies: 2, ClientCert: mesh.CertSanitize, ProxyProtocol: true},
		Headers: mesh.ProxyHeaders{
			ClientCert:  mesh.CertForwardOnly,
			CertDetails: mesh.CertDetails{Subject: new(bool), Cert: &yes, DNS: new(bool), URI: new(bool)},
			NoRequestID: true, NoServer: true, Server: "x", NoAttemptCount: true, NoDebug: true, PreserveCase: true,
			ForwardedHost: true, ForwardedPort: true,
		},
	}
	if diff := cmp.Diff(want, cfg.Settings); diff != "" {
		t.Error(diff)
	}
	if cfg, said := Read(meshMap("")); len(said) > 0 || !cmp.Equal(mesh.Settings{Origin: at}, cfg.Settings) {
		t.Errorf("an empty document: %+v %v", cfg.Settings, said)
	}
}

// TestEverySettingMatters clears each field in turn: the settings must change.
func TestEverySettingMatters(t *testing.T) {
	m := &meshconfig.MeshConfig{}
	if _, err := api.DecodeMessage([]byte(everySetting), "-", m); err != nil {
		t.Fatal(err)
	}
	reading := func(m *meshconfig.MeshConfig) string {
		s, _ := Settings(m, verdict.Origin{})
		out, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	want, proven := reading(m), map[string]bool{}
	clearEach(m, func(name string, changed proto.Message) {
		if proven[name] = reading(changed.(*meshconfig.MeshConfig)) != want; !proven[name] {
			t.Errorf("clearing %s changes nothing", name)
		}
	})
	for _, name := range slices.Sorted(maps.Keys(meshRead)) {
		if !proven[name] && name != "MeshConfig.OutboundTrafficPolicy.mode" { // REGISTRY_ONLY is its zero value
			t.Errorf("%s is not in the example: is it read?", name)
		}
	}
}

// TestMeshConfigVerdicts: what does not act is said, with its path.
func TestMeshConfigVerdicts(t *testing.T) {
	for _, c := range []struct {
		text      string
		onMachine bool
		want      []string
	}{
		{"defaultConfig: {concurrency: 2}", true, []string{"defaultConfig.concurrency NotActedOn"}},
		{"defaultConfig: {concurrency: 2, statsdUdpAddress: x}", false, []string{"defaultConfig.statsdUdpAddress NotActedOn"}},
		{"ingressClass: x\nconnectTimeout: -1s", false, []string{"connectTimeout Invalid", "ingressClass NotActedOn"}},
		{"outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}", false, []string{"outboundTrafficPolicy.mode Unsupported"}},
		{"defaultServiceExportTo: [\" \"]", true, []string{"defaultServiceExportTo[0] Invalid"}},
		{"soon: {x: 1}", true, []string{"soon NotActedOn"}},
		{"connectTimeout: 5", true, []string{" Invalid"}},
	} {
		t.Run(c.text, func(t *testing.T) {
			var said []verdict.Status
			if c.onMachine {
				_, said = Read(meshMap(c.text))
			} else {
				m := &meshconfig.MeshConfig{}
				if _, err := api.DecodeMessage([]byte(c.text), "-", m); err != nil {
					t.Fatal(err)
				}
				_, said = Settings(m, verdict.Origin{})
			}
			var got []string
			for _, s := range said {
				got = append(got, s.Path+" "+string(s.Code))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff, said)
			}
		})
	}
}
