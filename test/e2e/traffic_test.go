package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestTCP: plain TCP goes through both proxies over mTLS, half-closed by its
// client, and is counted on both sides.
func TestTCP(t *testing.T) {
	m := startMesh(t, true)
	m.sample("tcp-echo/tcp-echo.yaml")
	m.sample("curl/curl.yaml")
	const ask = `exec python3 -c '
import socket
s = socket.create_connection(("tcp-echo", 9000), 5)
s.sendall(b"world\n"); s.shutdown(socket.SHUT_WR)
b = b""
while True:
    d = s.recv(4096)
    if not d: break
    b += d
print(b.decode(), end="")'`
	seen := map[string]bool{}
	eventually(t, 20*time.Second, func() error {
		out, errs, err := m.exec("curl", "sh", "-c", ask)
		seen[strings.TrimSpace(out)] = true
		return expect(err == nil && seen["one world"] && seen["two world"], "%v %q %s", err, out, errs)
	})
	for _, c := range []struct{ workload, reporter string }{{"curl", "source"}, {"tcp-echo-v1", "destination"}} {
		eventually(t, 10*time.Second, func() error {
			metrics, _, err := m.exec(c.workload, "curl", "-sS", "http://127.0.0.1:15020/stats/prometheus")
			line := regexp.MustCompile(`istio_tcp_received_bytes_total\{[^}]*reporter="` + c.reporter + `"[^}]*\} [1-9]`).FindString(metrics)
			return expect(err == nil && strings.Contains(line, `source_workload="curl"`) && strings.Contains(line, `destination_service="tcp-echo.default.svc.cluster.local"`) &&
				strings.Contains(line, `source_principal="spiffe://cluster.local/ns/default/sa/curl"`), "%s: %v %s", c.reporter, err, line)
		})
	}
}

// TestVersions: helloworld's two versions answer in turn, and one alone after a
// route by subset and a cookie match for the other.
func TestVersions(t *testing.T) {
	m := startMesh(t, true)
	m.sample("helloworld/helloworld.yaml")
	m.sample("curl/curl.yaml")
	m.apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: helloworld}
spec:
  host: helloworld
  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: helloworld}
spec:
  hosts: [helloworld]
  http:
  - match:
    - headers: {cookie: {regex: "^(.*;\\s*)?user=tester(;.*)?$"}}
    - queryParams: {version: {exact: two}}
    route: [{destination: {host: helloworld, subset: v2}}]
  - match: [{uri: {prefix: /old/}}]
    rewrite: {uri: /}
    route:
    - destination: {host: helloworld, subset: v1}
      headers: {response: {set: {x-from: old}}}
  - match: [{uri: {exact: /moved}}]
    redirect: {uri: /hello, redirectCode: 302}
  - match: [{method: {exact: POST}}]
    directResponse: {status: 418, body: {string: "short and stout"}}
  - route: [{destination: {host: helloworld, subset: v1}}]
`)
	ask := func(args ...string) string {
		out, errs, err := m.exec("curl", append([]string{"curl", "-sS", "-m", "5", "-w", " %{http_code} %{redirect_url} %header{x-from}"}, args...)...)
		return fmt.Sprintf("%s%s%v", out, errs, errText(err))
	}
	for _, c := range []struct {
		want, name string
		args       []string
	}{
		{"version: v1", "plain", []string{"http://helloworld:5000/hello"}},
		{"version: v2", "cookie", []string{"-b", "a=b; user=tester", "http://helloworld:5000/hello"}},
		{"version: v1", "another cookie", []string{"-b", "user=testers", "http://helloworld:5000/hello"}},
		{"version: v2", "query", []string{"http://helloworld:5000/hello?x=1&version=two"}},
		{"200  old", "rewrite and header", []string{"http://helloworld:5000/old/hello"}},
		{"302 http://helloworld:5000/hello", "redirect", []string{"http://helloworld:5000/moved"}},
		{"short and stout 418", "direct response", []string{"-X", "POST", "http://helloworld:5000/hello"}},
	} {
		eventually(t, 20*time.Second, func() error {
			got := ask(c.args...)
			return expect(strings.Contains(got, c.want), "%s: no %q in %q", c.name, c.want, got)
		})
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestMissingSubsetKeepsTheRoute: a route that names a subset that is not there
// changes nothing, says what it waits for, and acts as soon as it is there.
func TestMissingSubsetKeepsTheRoute(t *testing.T) {
	m := startMesh(t, true)
	m.sample("bookinfo/virtual-service-reviews-v3.yaml")
	m.apply(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews, subset: plain}}]
`)
	if code, text := m.get("/api/v1/products/0/reviews"); code != 200 || !strings.Contains(text, `"color":"red"`) {
		t.Errorf("the previous route is gone: %d %s", code, text)
	}
	if out := m.run("status", "virtualservice", "reviews"); !strings.Contains(out, "Waiting") || !strings.Contains(out, "plain") {
		t.Errorf("status does not say what it waits for:\n%s", out)
	}
	m.apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  subsets:
  - {name: plain, labels: {version: v1}}
`)
	for range 5 {
		if _, text := m.get("/api/v1/products/0/reviews"); strings.Contains(text, `"color"`) {
			t.Errorf("the route does not act: %s", text)
		}
	}
}

// TestOutside: an unknown destination is reached through the proxy by a socket of
// the host. The "host" is a network namespace of the test's own, with an address
// that exists nowhere else.
func TestOutside(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making a network namespace for the host needs root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("no ip: install iproute2")
	}
	m := newMesh(t, false)
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %v: %v %s", args, err, out)
		}
	}
	ip("netns", "add", m.name)
	t.Cleanup(func() { m.within = nil; ip("netns", "del", m.name) })
	ip("-n", m.name, "link", "set", "lo", "up")
	ip("-n", m.name, "addr", "add", "192.0.2.10/32", "dev", "lo")
	m.within = []string{"nsenter", "--net=/var/run/netns/" + m.name, "--"}
	server := m.command("sample", "httpbin", "18080")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	m.up()
	t.Cleanup(m.down)
	m.sample("curl/curl.yaml")
	eventually(t, 20*time.Second, func() error {
		out, errs, err := m.exec("curl", "curl", "-sS", "-m", "5", "http://192.0.2.10:18080/headers")
		return expect(err == nil && strings.Contains(out, `"Host"`) && strings.Contains(out, "192.0.2.10:18080"), "%v %s%s", err, out, errs)
	})
	eventually(t, 10*time.Second, func() error {
		log := m.run("logs", "curl", "-c", "proxy")
		return expect(strings.Contains(log, "PassthroughCluster"), "%s", log)
	})
}
