package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"
)

// walkHTTPVersions: HTTP/1.1 and HTTP/2 in all combinations of client, mesh and
// server that Istio knows, as the proxies' access logs tell them.
func (m *mesh) walkHTTPVersions() {
	m.t.Run("http/1.1 stays", func(t *testing.T) { m.version(t, "one", false, "HTTP/1.1", "HTTP/1.1") })
	m.t.Run("http/2 client, http/1.1 server", func(t *testing.T) { m.version(t, "two", true, "HTTP/2", "HTTP/1.1") })
	m.t.Run("bodies", func(t *testing.T) { m.bodies(t) })
	m.t.Run("websocket", func(t *testing.T) { m.webSocket(t) })
	m.t.Run("gateway with tls", func(t *testing.T) { m.gatewayTLS(t) })
	m.apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin}
spec:
  host: httpbin
  trafficPolicy: {connectionPool: {http: {h2UpgradePolicy: UPGRADE}}}
`)
	m.t.Run("upgraded", func(t *testing.T) { m.version(t, "three", false, "HTTP/1.1", "HTTP/2") })
	m.t.Run("http/2 throughout", func(t *testing.T) { m.version(t, "four", true, "HTTP/2", "HTTP/2") })
	m.t.Run("bodies, upgraded", func(t *testing.T) { m.bodies(t) })
	m.t.Run("websocket, upgraded", func(t *testing.T) { m.webSocket(t) })
}

// version sends a request and finds in both sidecars' logs what it came in as.
func (m *mesh) version(t *testing.T, path string, http2 bool, atClient, atServer string) {
	args := []string{"curl", "-sS", "-m", "5", "-w", " %{http_version} %{http_code}"}
	clients := " 1.1 200"
	if http2 {
		args, clients = append(args, "--http2-prior-knowledge"), " 2 200"
	}
	out, errs, err := m.exec("curl", append(args, "http://httpbin:8000/anything/"+path)...)
	if err != nil || !strings.HasSuffix(out, clients) || !strings.Contains(out, "URI=spiffe://cluster.local/ns/default/sa/curl") {
		t.Fatalf("%v\n%s%s", err, out, errs)
	}
	for workload, want := range map[string]string{"curl": atClient, "httpbin": atServer} {
		eventually(t, 5*time.Second, func() error {
			line := regexp.MustCompile(`(?m)^.*"GET /anything/` + path + ` .*$`).FindString(m.run("logs", workload, "-c", "proxy"))
			return expect(strings.Contains(line, " "+want+`" 200`), "at %s: want %s in %q", workload, want, line)
		})
	}
}

// bodies go both ways whole, larger than any window: up without a length, down with one.
func (m *mesh) bodies(t *testing.T) {
	for _, flags := range []string{"", "--http2-prior-knowledge"} {
		script := fmt.Sprintf(`head -c 3000000 /dev/zero | tr '\0' a | curl -sS -m 20 %[1]s -T - -X POST http://httpbin:8000/post | grep -o 'a\{1000\}' | wc -l &&
			curl -sS -m 20 %[1]s http://httpbin:8000/bytes/3000000 | wc -c`, flags)
		out, errs, err := m.exec("curl", "sh", "-c", script)
		if f := strings.Fields(out); err != nil || len(f) != 2 || f[0] != "3000" || f[1] != "3000000" {
			t.Errorf("curl %s: %v %q %s", flags, err, out, errs)
		}
	}
}

// webSocketClient shakes hands, sends two messages and the end, and prints what
// comes back.
const webSocketClient = `
import base64, os, socket, sys
s = socket.create_connection(("httpbin", 8000), 5)
s.settimeout(5)
s.sendall(b"GET /websocket/echo HTTP/1.1\r\nHost: httpbin:8000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
          b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(os.urandom(16)) + b"\r\n\r\n")
f = s.makefile("rb")
print(f.readline().decode().split(" ")[1])
while f.readline() not in (b"\r\n", b""): pass
def send(op, body):
    mask = os.urandom(4)
    s.sendall(bytes([0x80 | op, 0x80 | len(body)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(body)))
def recv():
    a, n = f.read(2)
    return a & 15, f.read(n)
for m in (b"ahoy", b"again"):
    send(1, m)
    print(recv()[1].decode())
send(8, b"\x03\xe8")
print(recv()[0], f.read() == b"")
`

// webSocket: an upgrade goes through both sidecars, over mTLS.
func (m *mesh) webSocket(t *testing.T) {
	out, errs, err := m.exec("curl", "python3", "-c", webSocketClient)
	if want := "101\nahoy\nagain\n8 True\n"; err != nil || out != want {
		t.Errorf("%v\n%s%s", err, out, errs)
	}
}

// gatewayTLS: the gateway's HTTPS server agrees to HTTP/2 with clients that speak it,
// and to HTTP/1.1 with others; behind it the server hears HTTP/1.1.
func (m *mesh) gatewayTLS(t *testing.T) {
	cert, key := credential(t, "bin.example.com")
	m.apply(`
apiVersion: v1
kind: Secret
metadata: {name: bin, namespace: istio-system}
type: kubernetes.io/tls
data: {tls.crt: ` + base64.StdEncoding.EncodeToString(cert) + `, tls.key: ` + base64.StdEncoding.EncodeToString(key) + `}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: bin}
spec:
  selector: {istio: ingressgateway}
  servers:
  - {port: {number: 443, name: https, protocol: HTTPS}, hosts: [bin.example.com], tls: {mode: SIMPLE, credentialName: bin}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: bin}
spec:
  hosts: [bin.example.com]
  gateways: [bin]
  http:
  - route: [{destination: {host: httpbin}}]
`)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	for _, http2 := range []bool{true, false} {
		tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "bin.example.com"}, ForceAttemptHTTP2: http2}
		eventually(t, 10*time.Second, func() error {
			req, err := http.NewRequest("GET", strings.TrimSuffix(m.Info.Ingress.HTTPS, "/")+"/anything", nil)
			if err != nil {
				return err
			}
			req.Host = "bin.example.com"
			resp, err := (&http.Client{Transport: tr, Timeout: 5 * time.Second}).Do(req)
			if err != nil {
				return err
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			return expect(err == nil && resp.StatusCode == 200 && (resp.ProtoMajor == 2) == http2 && bytes.Contains(body, []byte("sa/istio-ingressgateway")),
				"HTTP/2 %v: %s %s %v\n%s", http2, resp.Proto, resp.Status, err, body)
		})
		tr.CloseIdleConnections()
	}
}

// credential makes a certificate that signs itself, and its key, as PEM.
func credential(t *testing.T, host string) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}
