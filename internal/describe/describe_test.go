package describe_test

import (
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/describe"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

const objects = `
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{name: http, port: 9080}], selector: {app: reviews}}
---
apiVersion: v1
kind: Service
metadata: {name: istio-ingressgateway, namespace: istio-system}
spec: {ports: [{name: http2, port: 80}], selector: {istio: ingressgateway, app: istio-ingressgateway}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route: [{destination: {host: reviews, subset: v1}, weight: 80}, {destination: {host: reviews, subset: v2}, weight: 20}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: edge}
spec: {hosts: ["*"], gateways: [gw], http: [{match: [{uri: {prefix: /reviews}}], route: [{destination: {host: reviews}}]}]}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: reviews}
spec: {selector: {matchLabels: {app: reviews}}, portLevelMtls: {9080: {mode: DISABLE}}}
`

const want = `Pod: reviews-v1-abc
   Pod Revision: default
   Pod Ports: 9080 (reviews), 53/UDP (dns)
--------------------
Service: reviews
   Port: http 9080/HTTP targets pod port 9080
DestinationRule: reviews for "reviews"
   Matching subsets: v1
      (Non-matching subsets v2)
   No Traffic Policy
VirtualService: reviews
   Route 1: Weight 80% to the subset v1, all requests
   WARNING: spec.http[0]: Shadowed: somebody wins
--------------------
Effective PeerAuthentication:
   Workload mTLS mode: STRICT
   Port Level mTLS mode: 9080: DISABLE
Applied PeerAuthentication:
   reviews.default, default.istio-system
--------------------
Exposed on Ingress Gateway http://10.97.1.10
   Gateway: gw.default, hosts *
VirtualService: edge
   /reviews*
`

func mesh(t *testing.T) *describe.Mesh {
	t.Helper()
	list, err := api.Decode(strings.NewReader(objects), "x.yaml")
	if err != nil {
		t.Fatal(err)
	}
	vs := verdict.Ref{Kind: "VirtualService", Namespace: "default", Name: "reviews"}
	return &describe.Mesh{
		Objects: list, RootNamespace: "istio-system",
		Verdicts: map[verdict.Ref][]verdict.Status{vs: {
			{Origin: verdict.Origin{Ref: vs}, Code: verdict.Effective},
			{Origin: verdict.Origin{Ref: vs, Path: "spec.http[0]"}, Code: verdict.Shadowed, Message: "somebody wins"},
		}},
		Address: func(namespace, service string) string {
			return map[string]string{"istio-system/istio-ingressgateway": "10.97.1.10"}[namespace+"/"+service]
		},
	}
}

func TestPod(t *testing.T) {
	got := mesh(t).Pod(describe.Pod{
		Namespace: "default", Name: "reviews-v1-abc", Labels: map[string]string{"app": "reviews", "version": "v1"}, Revision: "default",
		Ports: []describe.Port{{Number: 9080, Protocol: "TCP", Container: "reviews"}, {Number: 53, Protocol: "UDP", Container: "dns"}}, Proxied: true, Running: true,
	})
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPodWithoutProxy(t *testing.T) {
	got := mesh(t).Pod(describe.Pod{Namespace: "default", Name: "x", Labels: map[string]string{"app": "x"}})
	for _, want := range []string{"WARNING: x is not part of mesh; no Istio sidecar", "WARNING: the pod is not running", "No service selects the pod", "mTLS mode: STRICT"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

func TestService(t *testing.T) {
	got, err := mesh(t).Service("default", "reviews")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Service: reviews.default", "Subsets: v1, v2", "Route 0: Weight 100% to the subset v2, requests of end-user=jason", "Exposed on Ingress Gateway http://10.97.1.10"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if _, err := mesh(t).Service("default", "ghost"); err == nil {
		t.Error("a service that is not there is described")
	}
}
