package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestGRPC: gRPC between workloads over our own sidecars.
func TestGRPC(t *testing.T) {
	m := grpcMesh(t)
	m.walkGRPC()
	m.walkHTTPVersions()
	t.Run("metrics", func(t *testing.T) { m.grpcMetrics(t) })
	t.Run("rolling update", func(t *testing.T) { m.grpcRolling(t) })
}

// TestGRPCWithEnvoy: the same with a real Envoy as every workload's sidecar.
func TestGRPCWithEnvoy(t *testing.T) {
	m := grpcMesh(t, "--sidecar", "envoy", "--envoy", envoyPath(t))
	m.walkGRPC()
	m.walkHTTPVersions()
}

func (m *mesh) walkGRPC() {
	for _, step := range []struct {
		name string
		run  func(m *mesh, t *testing.T)
	}{
		{"calls", (*mesh).grpcCalls}, {"pools", (*mesh).grpcPools}, {"gateway", (*mesh).grpcGateway}, {"other ports", (*mesh).grpcPorts},
		{"split", (*mesh).grpcSplit}, {"faults", (*mesh).grpcFaults}, {"retries", (*mesh).grpcRetries}, {"change under a stream", (*mesh).grpcChange},
	} {
		m.t.Run(step.name, func(t *testing.T) { step.run(m, t) })
	}
}

// grpcCalls: all four kinds of calls come through with metadata and trailers, and
// the server learns who calls.
func (m *mesh) grpcCalls(t *testing.T) {
	for method, want := range map[string]int{"unary": 5, "server-stream": 6, "client-stream": 2, "bidi": 6} {
		list := m.grpc("grpc-echo:7070", "-method", method, "-n", "5", "-H", "x-tenant=blue")
		last := list[len(list)-1]
		if len(list) != want || last.Code != "OK" || last.Trailer["x-echo"] != "end" && method != "client-stream" || last.Header["x-echo-version"] == "" {
			t.Errorf("%s: %d answers, the last %+v", method, len(list), last)
			continue
		}
		md := list[0].Reply.Metadata
		who := md["x-forwarded-client-cert"]
		if !strings.Contains(who, "URI=spiffe://cluster.local/ns/default/sa/curl") || !strings.Contains(who, "By=spiffe://cluster.local/ns/default/sa/grpc-echo") {
			t.Errorf("%s: the caller is %q", method, who)
		}
		if md["x-tenant"] != "blue" || md[":authority"] != "grpc-echo:7070" || md["x-envoy-peer-metadata"] != "" || md["x-request-id"] == "" {
			t.Errorf("%s: metadata %v", method, md)
		}
	}
}

// grpcPools: large messages and many calls at a time go through, also where each
// connection takes few streams at a time and few in all, and is asked for signs of life.
func (m *mesh) grpcPools(t *testing.T) {
	codes := func(n int, args ...string) {
		t.Helper()
		ok := 0
		for _, a := range m.grpc(append([]string{"grpc-echo:7070"}, args...)...) {
			if a.Code == "OK" {
				ok++
			} else if a.Code != "" {
				t.Errorf("%v: %s %s", args, a.Code, a.Error)
			}
		}
		if ok != n {
			t.Errorf("%v: %d calls succeeded, want %d", args, ok, n)
		}
	}
	codes(1, "-method", "bidi", "-n", "10", "-size", "1000000")
	codes(60, "-parallel", "20", "-n", "3", "-size", "100000")
	m.apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: grpc-echo}
spec:
  host: grpc-echo
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 7, maxConcurrentStreams: 3, idleTimeout: 1s, http2KeepAlive: {interval: 100ms, timeout: 1s}}}}
`)
	codes(200, "-parallel", "20", "-n", "10")
}

// grpcGateway: a client from outside calls over HTTP/2 without TLS.
func (m *mesh) grpcGateway(t *testing.T) {
	m.apply(`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: grpc}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 80, name: grpc, protocol: GRPC}, hosts: [grpc.example.com]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: grpc-outside}
spec:
  hosts: [grpc.example.com]
  gateways: [grpc]
  http:
  - route: [{destination: {host: grpc-echo}}]
`)
	for _, method := range []string{"unary", "bidi"} {
		out := m.run("sample", "grpc-client", m.ingressHost(), "-authority", "grpc.example.com", "-method", method, "-n", "3")
		list, err := answers(out)
		if err != nil || len(list) < 3 || list[len(list)-1].Code != "OK" ||
			!strings.Contains(list[0].Reply.Metadata["x-forwarded-client-cert"], "URI=spiffe://cluster.local/ns/istio-system/sa/istio-ingressgateway") {
			t.Errorf("%s: %v\n%s", method, err, out)
		}
	}
	list, err := answers(m.run("sample", "grpc-client", m.ingressHost(), "-authority", "other.example.com"))
	if err != nil || len(list) != 1 || list[0].Code != "Unimplemented" { // 404, in gRPC's words
		t.Errorf("another host: %v %+v", err, list)
	}
}

// grpcPorts: HTTP/2 is told by its first bytes where a port declares nothing, and
// kept where a policy says so, though the port declares http; under STRICT too.
func (m *mesh) grpcPorts(t *testing.T) {
	m.apply(`
apiVersion: v1
kind: Service
metadata: {name: echo-any}
spec: {selector: {app: echo-any}, ports: [{port: 7171, targetPort: 7070}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: echo-any}
spec:
  selector: {matchLabels: {app: echo-any}}
  template:
    metadata: {labels: {app: echo-any}}
    spec: {containers: [{name: echo, image: lateen-mesh/grpc-echo-v1, ports: [{containerPort: 7070}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: echo-http}
spec: {selector: {app: grpc-echo}, ports: [{name: http, port: 7272, targetPort: 7070}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: echo-http}
spec:
  host: echo-http
  trafficPolicy: {connectionPool: {http: {useClientProtocol: true, maxConcurrentStreams: 2, http2KeepAlive: {interval: 1s, timeout: 1s}}}}
`)
	for _, mode := range []string{"PERMISSIVE", "STRICT"} {
		m.apply(`
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: ` + mode + `}}
`)
		for _, address := range []string{"echo-any:7171", "echo-http:7272", "grpc-echo:7070"} {
			eventually(t, 15*time.Second, func() error {
				list, err := m.tryGRPC(address, "-method", "bidi", "-n", "3")
				if err != nil || len(list) != 4 || list[3].Code != "OK" {
					return fmt.Errorf("%s %s: %v %+v", mode, address, err, list)
				}
				// A stock Envoy cannot tell its peer that a port which declares nothing
				// carries HTTP: that connection is relayed as it is.
				who := list[0].Reply.Metadata["x-forwarded-client-cert"]
				relayed := m.envoy && address == "echo-any:7171"
				return expect(relayed || strings.Contains(who, "/sa/curl"), "%s %s: the caller is %q", mode, address, who)
			})
		}
	}
	m.run("delete", "peerauthentication", "default", "-n", "istio-system")
}

// grpcSplit: each call is routed by itself, though all go over one connection.
func (m *mesh) grpcSplit(t *testing.T) {
	m.apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: grpc-echo}
spec:
  host: grpc-echo
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: grpc-echo}
spec:
  hosts: [grpc-echo]
  http:
  - match: [{headers: {x-user: {exact: jason}}}]
    route: [{destination: {host: grpc-echo, subset: v2}}]
  - route:
    - {destination: {host: grpc-echo, subset: v1}, weight: 50}
    - {destination: {host: grpc-echo, subset: v2}, weight: 50}
`)
	count := func(args ...string) map[string]int {
		seen := map[string]int{}
		for _, a := range m.grpc(append([]string{"grpc-echo:7070"}, args...)...) {
			seen[a.Reply.Version]++
		}
		return seen
	}
	half := map[string]float64{"v1": 0.5, "v2": 0.5}
	err := within3Sigma(count("-n", "400"), half, 400)
	if err != nil { // one honest measurement in 370 lies outside; two in a row do not
		err = within3Sigma(count("-n", "400"), half, 400)
	}
	if err != nil {
		t.Error(err)
	}
	if seen := count("-n", "20", "-H", "x-user=jason"); seen["v2"] != 20 {
		t.Errorf("by metadata: %v", seen)
	}
}

// grpcFaults: aborts reach the client as gRPC statuses; a status of the server
// comes through as it is.
func (m *mesh) grpcFaults(t *testing.T) {
	m.apply(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: grpc-echo}
spec:
  hosts: [grpc-echo]
  http:
  - match: [{headers: {x-fault: {exact: grpc}}}]
    fault: {abort: {grpcStatus: RESOURCE_EXHAUSTED, percentage: {value: 100}}}
    route: [{destination: {host: grpc-echo}}]
  - match: [{headers: {x-fault: {exact: http}}}]
    fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
    route: [{destination: {host: grpc-echo}}]
  - match: [{headers: {x-fault: {exact: late}}}]
    fault: {delay: {fixedDelay: 5s, percentage: {value: 100}}}
    route: [{destination: {host: grpc-echo}}]
  - retries: {attempts: 0}
    route: [{destination: {host: grpc-echo}}]
`)
	for _, c := range []struct {
		name, code, text string
		args             []string
	}{
		{"grpc abort", "ResourceExhausted", "fault", []string{"-H", "x-fault=grpc"}},
		{"grpc abort of a stream", "ResourceExhausted", "fault", []string{"-H", "x-fault=grpc", "-method", "bidi"}},
		{"http abort", "Unavailable", "fault", []string{"-H", "x-fault=http"}},
		{"deadline", "DeadlineExceeded", "", []string{"-H", "x-fault=late", "-timeout", "300ms"}},
		{"of the server", "PermissionDenied", "fails as asked", []string{"-fail", "7"}},
		{"of the server, in a stream", "DataLoss", "fails as asked", []string{"-fail", "15", "-method", "bidi"}},
		{"none", "OK", "", nil},
	} {
		list := m.grpc(append([]string{"grpc-echo:7070"}, c.args...)...)
		if last := list[len(list)-1]; last.Code != c.code || !strings.Contains(last.Error, c.text) {
			t.Errorf("%s: %+v", c.name, last)
		}
	}
}

// grpcRetries: a call that a server answers with a status which the route names is
// made again, at another server.
func (m *mesh) grpcRetries(t *testing.T) {
	m.apply(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: grpc-echo}
spec:
  hosts: [grpc-echo]
  http:
  - match: [{headers: {x-retry: {exact: "no"}}}]
    retries: {attempts: 0}
    route: [{destination: {host: grpc-echo}}]
  - retries: {attempts: 4, retryOn: unavailable}
    route: [{destination: {host: grpc-echo}}]
`)
	count := func(args ...string) map[string]int {
		seen := map[string]int{}
		for _, a := range m.grpc(append([]string{"grpc-echo:7070", "-fail-at", "v1", "-n", "20"}, args...)...) {
			seen[a.Code+a.Reply.Version]++
		}
		return seen
	}
	if seen := count("-fail", "14"); seen["OKv2"] != 20 {
		t.Errorf("unavailable: %v", seen)
	}
	if seen := count("-fail", "13"); seen["Internal"] == 0 || seen["Internal"]+seen["OKv2"] != 20 {
		t.Errorf("a status that the route does not name: %v", seen)
	}
	if seen := count("-fail", "14", "-H", "x-retry=no"); seen["Unavailable"] == 0 || seen["Unavailable"]+seen["OKv2"] != 20 {
		t.Errorf("without retries: %v", seen)
	}
}

// grpcChange: routes and pools change under an open stream, and it does not notice.
func (m *mesh) grpcChange(t *testing.T) {
	const n = 25
	s := m.openStream(n)
	time.Sleep(500 * time.Millisecond)
	for _, subset := range []string{"v1", "v2"} {
		m.apply(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: grpc-echo}
spec:
  hosts: [grpc-echo]
  http:
  - route: [{destination: {host: grpc-echo, subset: ` + subset + `}}]
`)
		if list := m.grpc("grpc-echo:7070", "-n", "5"); list[4].Reply.Version != subset || list[0].Reply.Version != subset {
			t.Errorf("the change to %s does not act: %+v", subset, list)
		}
	}
	if err := s.whole(n); err != nil {
		t.Error(err)
	}
}

// grpcMetrics: both sides count calls by their gRPC status.
func (m *mesh) grpcMetrics(t *testing.T) {
	m.grpc("grpc-echo:7070", "-fail", "7", "-fail-at", "v2", "-n", "4") // all calls go to v2 by now
	for _, c := range []struct{ workload, reporter string }{{"curl", "source"}, {"grpc-echo-v2", "destination"}} {
		for _, status := range []string{"0", "7"} {
			eventually(t, 10*time.Second, func() error {
				metrics, errs, err := m.exec(c.workload, "curl", "-sS", "http://127.0.0.1:15020/stats/prometheus")
				for _, line := range regexp.MustCompile(`istio_requests_total\{[^}]*\} [1-9]`).FindAllString(metrics, -1) {
					if all(line, `reporter="`+c.reporter+`"`, `request_protocol="grpc"`, `grpc_response_status="`+status+`"`, `response_code="200"`,
						`source_workload="curl"`, `destination_workload="grpc-echo-v2"`, `connection_security_policy="`) {
						return nil
					}
				}
				return fmt.Errorf("%s, status %s: %v %s %s", c.reporter, status, err, errs,
					strings.Join(regexp.MustCompile(`istio_requests_total\{[^}]*grpc-echo[^}]*\}.*`).FindAllString(metrics, -1), "\n"))
			})
		}
	}
}

// grpcRolling: all servers are replaced under calls and an open stream; no call
// fails, and the stream is served to its end by the server that it began with.
func (m *mesh) grpcRolling(t *testing.T) {
	file := filepath.Join(m.home, "app.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const n = 30
	s := m.openStream(n)
	calls := make(chan map[string]int, 1)
	go func() {
		seen := map[string]int{}
		list, err := m.tryGRPC("grpc-echo:7070", "-parallel", "2", "-n", "100", "-every", "30ms")
		if err != nil {
			seen[err.Error()]++
		}
		for _, a := range list {
			seen[a.Code+a.Error]++
		}
		calls <- seen
	}()
	changed := bytes.ReplaceAll(text, []byte("        image: lateen-mesh/"), []byte("        env: [{name: RELEASE, value: two}]\n        image: lateen-mesh/"))
	if err := os.WriteFile(file, changed, 0o644); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, func() error {
		out := m.run("ps")
		return expect(strings.Contains(out, "grpc-echo-v1-1") && strings.Contains(out, "grpc-echo-v2-1"), "%s", out)
	})
	if seen := <-calls; len(seen) != 1 || seen["OK"] != 200 {
		t.Errorf("calls: %v", seen)
	}
	if err := s.whole(n); err != nil {
		t.Error(err)
	}
}

func all(text string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(text, p) {
			return false
		}
	}
	return true
}

// TestGRPCStreamSurvivesTheControlPlane: streams go on when it is killed, and new
// calls go through.
func TestGRPCStreamSurvivesTheControlPlane(t *testing.T) {
	m := grpcMesh(t, "--control-plane=process")
	pids := m.pidsOf("\x00control-plane\x00")
	if len(pids) != 1 {
		t.Fatalf("control-plane processes: %v", pids)
	}
	const n = 20
	s := m.openStream(n)
	time.Sleep(300 * time.Millisecond)
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if list := m.grpc("grpc-echo:7070", "-n", "5"); len(list) != 5 || list[4].Code != "OK" {
		t.Errorf("calls without a control plane: %+v", list)
	}
	if err := s.whole(n); err != nil {
		t.Error(err)
	}
}
