package analyze_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// good is what is in force beside a bad object of each kind.
const good = `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: v1}}]}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: ingress}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.example.com"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec: {hosts: [a.example.com], gateways: [edge], http: [{route: [{destination: {host: reviews}}]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
`

// bad has an object of each kind that the checks refuse. It gets into the pipeline
// all the same, as where a cluster's webhook was away.
var bad = map[string]string{
	"VirtualService":        "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: bad}, spec: {hosts: [bad.example.org], http: [{match: [{uri: {regex: '('}}], route: [{destination: {host: ''}}]}]}}",
	"DestinationRule":       "{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: bad}, spec: {host: '', trafficPolicy: {tls: {mode: DISABLE}}}}",
	"Gateway":               "{apiVersion: networking.istio.io/v1, kind: Gateway, metadata: {name: bad}, spec: {selector: {istio: ingress}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['a b']}, {port: {number: 70000, name: x, protocol: HTTP}, hosts: ['*']}]}}",
	"PeerAuthentication":    "{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: bad}, spec: {portLevelMtls: {9080: {mode: DISABLE}}}}",
	"ServiceEntry":          "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: bad}, spec: {hosts: ['*'], ports: [{number: 0, name: ''}]}}",
	"WorkloadEntry":         "{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: bad}, spec: {address: 'a b'}}",
	"Sidecar":               "{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: bad}, spec: {workloadSelector: {labels: {app: none}}, egress: [{hosts: ['nonsense']}]}}",
	"AuthorizationPolicy":   "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: bad}, spec: {action: DENY}}",
	"RequestAuthentication": "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: bad}, spec: {jwtRules: [{jwksUri: 'x'}]}}",
	"EnvoyFilter":           "{apiVersion: networking.istio.io/v1alpha3, kind: EnvoyFilter, metadata: {name: bad}, spec: {configPatches: [{}]}}",
	"Telemetry":             "{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: bad}, spec: {tracing: [{randomSamplingPercentage: 200}]}}",
	"WasmPlugin":            "{apiVersion: extensions.istio.io/v1alpha1, kind: WasmPlugin, metadata: {name: bad}, spec: {}}",
	"TrafficExtension":      "{apiVersion: extensions.istio.io/v1alpha1, kind: TrafficExtension, metadata: {name: bad}, spec: {}}",
	"ProxyConfig":           "{apiVersion: networking.istio.io/v1beta1, kind: ProxyConfig, metadata: {name: bad}, spec: {concurrency: -1}}",
	"WorkloadGroup":         "{apiVersion: networking.istio.io/v1, kind: WorkloadGroup, metadata: {name: bad}, spec: {}}",
}

// TestBadObjectsDisturbNobody: with a bad object of any kind beside them, good objects
// make the same of every proxy as without it, no workload takes plain text that did
// not before, and something is said of the bad one.
func TestBadObjectsDisturbNobody(t *testing.T) {
	base, err := os.ReadFile("testdata/base.yaml")
	if err != nil {
		t.Fatal(err)
	}
	proxies := func(r result) string {
		text, err := json.Marshal(r.proxies)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	want := proxies(pipeline(t, aged(t, base, []byte(good))))
	if !strings.Contains(want, "a.example.com") {
		t.Fatal("the good objects have no effect")
	}
	for kind, text := range bad {
		t.Run(kind, func(t *testing.T) {
			// The bad one is the oldest, which wins wherever two compete.
			objects := aged(t, []byte(text), base, []byte(good))
			if len(validate.Object(objects[0])) == 0 {
				t.Fatal("the checks let the object pass")
			}
			r := pipeline(t, objects)
			if kind != "PeerAuthentication" { // a policy that is stricter somewhere would be no harm
				if got := proxies(r); got != want {
					t.Errorf("the proxies differ:\n%s\n%s", got, want)
				}
			}
			m := r.snap.MTLS("default", map[string]string{"app": "reviews"})
			if mode := m.At(9080); mode != mesh.Strict {
				t.Errorf("reviews takes connections as %s", mode)
			}
			said := false
			for _, s := range r.said {
				said = said || s.Ref.Name == "bad" && s.Code != verdict.Effective
			}
			if !said {
				t.Error("nothing is said of the bad object")
			}
		})
	}
}
