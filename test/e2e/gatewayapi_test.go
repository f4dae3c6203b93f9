package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestGatewayAPI: a Gateway and HTTPRoutes on one machine make an ingress and route
// between services, with our proxies and with Envoy.
func TestGatewayAPI(t *testing.T) { startMesh(t, true).walkGatewayAPI() }

func TestGatewayAPIWithEnvoy(t *testing.T) {
	startMesh(t, true, "--sidecar", "envoy", "--envoy", envoyPath(t)).walkGatewayAPI()
}

func (m *mesh) walkGatewayAPI() {
	for _, s := range []string{"httpbin/httpbin.yaml", "helloworld/helloworld.yaml", "curl/curl.yaml"} {
		m.sample(s)
	}
	m.t.Run("rules", m.gatewayRules)
	m.t.Run("redirects", m.gatewayRedirects)
	m.t.Run("shares", m.gatewayShares)
	m.t.Run("isolation", m.gatewayIsolation)
	m.t.Run("tls", m.gatewayListenerTLS)
	m.t.Run("services", m.serviceRoutes)
}

const edgeGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec:
  gatewayClassName: istio
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
`

// ask sends a request for a host through the gateway and does not follow redirects.
func (m *mesh) ask(host, path string, header ...string) (int, http.Header, string, error) {
	req, err := http.NewRequest("GET", strings.TrimSuffix(m.Info.Ingress.HTTP, "/")+path, nil)
	if err != nil {
		return 0, nil, "", err
	}
	req.Host = host
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(body), err
}

// gatewayRules: matches by the specification's order, rewrites in whole segments,
// header changes, time-outs.
func (m *mesh) gatewayRules(t *testing.T) {
	m.apply(edgeGateway + `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: rules}
spec:
  hostnames: [rules.example.com]
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /anything}}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: "short 100%"}]}}]
    backendRefs: [{name: httpbin, port: 8000}]
  - matches: [{path: {value: /anything/longer}}, {path: {value: /anything}, headers: [{name: x-user, value: j}]}]
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: longer}]}}]
    backendRefs: [{name: httpbin, port: 8000}]
  - matches: [{path: {value: /p}}]
    filters:
    - {type: URLRewrite, urlRewrite: {hostname: in.example.com, path: {type: ReplacePrefixMatch, replacePrefixMatch: /anything/}}}
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Set, value: "50%"}], add: [{name: X-Add, value: b}], remove: [X-Gone]}}
    backendRefs: [{name: httpbin, port: 8000}]
  - matches: [{path: {value: /strip}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
    backendRefs: [{name: httpbin, port: 8000}]
  - matches: [{path: {value: /whole}}]
    filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /anything/whole}}}]
    backendRefs: [{name: httpbin, port: 8000}]
  - matches: [{path: {type: Exact, value: /delay/3}}]
    timeouts: {request: 300ms}
    backendRefs: [{name: httpbin, port: 8000}]
  - matches: [{path: {type: Exact, value: /delay/4}}]
    timeouts: {backendRequest: 300ms}
    backendRefs: [{name: httpbin, port: 8000}]
`)
	type answer struct {
		URL     string
		Headers map[string]any
	}
	for _, c := range []struct {
		path, host string
		header     []string
		status     int
		url, rule  string // what the server saw, what the rule says
	}{
		{path: "/anything", status: 200, url: "/anything", rule: "short 100%"},
		{path: "/anything/longer/x?q=1", status: 200, url: "/anything/longer/x?q=1", rule: "longer"},
		{path: "/anything/longerthan", status: 200, url: "/anything/longerthan", rule: "short 100%"},
		{path: "/anything/x", header: []string{"x-user", "j"}, status: 200, url: "/anything/x", rule: "longer"},
		{path: "/p", status: 200, url: "/anything"},
		{path: "/p/a/b?c=d", status: 200, url: "/anything/a/b?c=d"},
		{path: "/pa", status: 404},
		{path: "/strip/anything/s", status: 200, url: "/anything/s"},
		{path: "/whole/of/it?q=1", status: 200, url: "/anything/whole?q=1"},
		{path: "/delay/3", status: 504},
		{path: "/delay/4", status: 504},
		{path: "/nothing", status: 404},
		{path: "/anything", host: "nobody.example.com", status: 404},
	} {
		t.Run(strings.TrimPrefix(c.path, "/"), func(t *testing.T) {
			host := c.host
			if host == "" {
				host = "rules.example.com"
			}
			eventually(t, 10*time.Second, func() error {
				code, h, body, err := m.ask(host, c.path, append(c.header, "x-gone", "1")...)
				if err != nil || code != c.status {
					return fmt.Errorf("%d %v\n%s", code, err, body)
				}
				if c.url == "" {
					return nil
				}
				var got answer
				if err := json.Unmarshal([]byte(body), &got); err != nil {
					return err
				}
				if err := expect(strings.HasSuffix(got.URL, c.url) && h.Get("x-rule") == c.rule, "%q %q, want %q %q", got.URL, h.Get("x-rule"), c.url, c.rule); err != nil {
					return err
				}
				if !strings.HasPrefix(c.path, "/p") {
					return nil
				}
				all := fmt.Sprint(got.Headers)
				return expect(strings.Contains(all, "X-Set:[50%]") && strings.Contains(all, "X-Add:[b]") && !strings.Contains(all, "X-Gone") && strings.Contains(body, "in.example.com"), "%s\n%s", all, body)
			})
		})
	}
}

func (m *mesh) gatewayRedirects(t *testing.T) {
	m.apply(edgeGateway + `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: redirects}
spec:
  hostnames: [old.example.com]
  parentRefs: [{name: edge}]
  rules:
  - {matches: [{path: {value: /tls}}], filters: [{type: RequestRedirect, requestRedirect: {scheme: https, statusCode: 301}}]}
  - {matches: [{path: {value: /host}}], filters: [{type: RequestRedirect, requestRedirect: {hostname: new.example.com, port: 8443}}]}
  - {matches: [{path: {value: /prefix}}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new/}, statusCode: 308}}]}
  - {matches: [{path: {value: /root}}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /}, statusCode: 307}}]}
  - {matches: [{path: {value: /page}}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /index.html}, statusCode: 303}}]}
`)
	for _, c := range []struct {
		path     string
		status   int
		location string
	}{
		{"/tls/a?b=c", 301, "https://old.example.com/tls/a?b=c"},
		{"/host/x", 302, "http://new.example.com:8443/host/x"},
		{"/prefix/x/y", 308, "http://old.example.com/new/x/y"},
		{"/prefix", 308, "http://old.example.com/new"},
		{"/root/x", 307, "http://old.example.com/x"},
		{"/root", 307, "http://old.example.com/"},
		{"/page/1", 303, "http://old.example.com/index.html"},
	} {
		eventually(t, 10*time.Second, func() error {
			code, h, _, err := m.ask("old.example.com", c.path)
			return expect(err == nil && code == c.status && h.Get("location") == c.location, "%s: %d %q %v, want %d %q", c.path, code, h.Get("location"), err, c.status, c.location)
		})
	}
}

// gatewayShares: weights, and 500 for the share of a backend that does not exist.
func (m *mesh) gatewayShares(t *testing.T) {
	m.apply(edgeGateway + `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shares}
spec:
  hostnames: [shares.example.com]
  parentRefs: [{name: edge}]
  rules:
  - matches: [{path: {value: /status}}]
    backendRefs: [{name: httpbin, port: 8000, weight: 1}, {name: nobody, port: 80, weight: 1}]
  - backendRefs: [{name: nobody, port: 80}]
`)
	const n = 200
	eventually(t, 10*time.Second, func() error {
		seen := map[int]int{}
		for range n {
			code, _, _, err := m.ask("shares.example.com", "/status/200")
			if err != nil {
				return err
			}
			seen[code]++
		}
		// Half of 200 with a standard deviation of 7.
		return expect(seen[200]+seen[500] == n && seen[200] > 70 && seen[200] < 130, "%v", seen)
	})
	if code, _, _, err := m.ask("shares.example.com", "/"); err != nil || code != 500 {
		t.Errorf("only a backend that does not exist: %d %v", code, err)
	}
}

// gatewayIsolation: a host's requests reach the rules of its own listener only.
func (m *mesh) gatewayIsolation(t *testing.T) {
	m.apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: isolated}
spec:
  gatewayClassName: istio
  listeners:
  - {name: wide, port: 80, protocol: HTTP, hostname: "*.iso.example.com"}
  - {name: narrow, port: 80, protocol: HTTP, hostname: x.iso.example.com}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wide}
spec:
  parentRefs: [{name: isolated, sectionName: wide}]
  rules: [{backendRefs: [{name: httpbin, port: 8000}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: narrow}
spec:
  parentRefs: [{name: isolated, sectionName: narrow}]
  rules: [{matches: [{path: {value: /hello}}], backendRefs: [{name: helloworld, port: 5000}]}]
`)
	for _, c := range []struct {
		host, path string
		status     int
	}{{"y.iso.example.com", "/status/200", 200}, {"x.iso.example.com", "/hello", 200}, {"x.iso.example.com", "/status/200", 404}} {
		eventually(t, 10*time.Second, func() error {
			code, _, body, err := m.ask(c.host, c.path)
			return expect(err == nil && code == c.status, "%s%s: %d %v %s", c.host, c.path, code, err, body)
		})
	}
}

// gatewayListenerTLS: listeners end TLS by server name; a swapped Secret is served to
// the next connection; a host of another listener is answered 421.
func (m *mesh) gatewayListenerTLS(t *testing.T) {
	pems := map[string][]byte{}
	secret := func(name string) string {
		cert, key := credential(t, name+".tls.example.com")
		pems[name] = cert
		return fmt.Sprintf("apiVersion: v1\nkind: Secret\nmetadata: {name: %s}\ntype: kubernetes.io/tls\ndata: {tls.crt: %s, tls.key: %s}\n---\n",
			name, base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key))
	}
	m.apply(secret("a") + secret("b") + `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: tls}
spec:
  gatewayClassName: istio
  listeners:
  - {name: a, port: 443, protocol: HTTPS, hostname: a.tls.example.com, tls: {certificateRefs: [{name: a}]}}
  - {name: b, port: 443, protocol: HTTPS, hostname: b.tls.example.com, tls: {certificateRefs: [{name: b}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: tls}
spec:
  parentRefs: [{name: tls}]
  rules: [{backendRefs: [{name: httpbin, port: 8000}]}]
`)
	call := func(sni, host string) (int, error) {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(pems[sni[:1]])
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: sni}, ForceAttemptHTTP2: true}
		defer tr.CloseIdleConnections()
		req, err := http.NewRequest("GET", strings.TrimSuffix(m.Info.Ingress.HTTPS, "/")+"/status/200", nil)
		if err != nil {
			return 0, err
		}
		req.Host = host
		resp, err := (&http.Client{Transport: tr, Timeout: 5 * time.Second}).Do(req)
		if err != nil {
			return 0, err
		}
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode, err
	}
	for _, c := range []struct {
		sni, host string
		status    int
	}{
		{"a.tls.example.com", "a.tls.example.com", 200},
		{"b.tls.example.com", "b.tls.example.com", 200},
		{"a.tls.example.com", "b.tls.example.com", 421},
		{"a.tls.example.com", "c.tls.example.com", 404},
	} {
		eventually(t, 10*time.Second, func() error {
			code, err := call(c.sni, c.host)
			return expect(err == nil && code == c.status, "%s, %s: %d %v", c.sni, c.host, code, err)
		})
	}
	if _, err := call("c.tls.example.com", "c.tls.example.com"); err == nil {
		t.Error("a server name that no listener has was served")
	}
	m.apply(secret("a"))
	eventually(t, 10*time.Second, func() error {
		code, err := call("a.tls.example.com", "a.tls.example.com") // trusts the new one only
		return expect(err == nil && code == 200, "rotated: %d %v", code, err)
	})
}

// serviceRoutes: an HTTPRoute whose parent is a Service acts on its clients.
func (m *mesh) serviceRoutes(t *testing.T) {
	m.apply(`
apiVersion: v1
kind: Service
metadata: {name: helloworld-v2}
spec: {selector: {app: helloworld, version: v2}, ports: [{name: http, port: 5000}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: helloworld}
spec:
  parentRefs: [{group: "", kind: Service, name: helloworld, port: 5000}]
  rules:
  - matches: [{path: {value: /hello}}]
    backendRefs: [{name: helloworld-v2, port: 5000}]
`)
	eventually(t, 15*time.Second, func() error {
		out, errs, err := m.exec("curl", "sh", "-c", "for i in 1 2 3 4 5 6 7 8; do curl -sS http://helloworld:5000/hello; done; curl -sS -o /dev/null -w '%{http_code}' http://helloworld:5000/other")
		return expect(err == nil && strings.Count(out, "version: v2") == 8 && strings.HasSuffix(out, "404"), "%v\n%s%s", err, out, errs)
	})
}
