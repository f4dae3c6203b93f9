package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const httpbinAndCurl = "httpbin/httpbin.yaml"

// TestIdentityOverMTLS: the callee sees who calls it, in its headers and in the
// mesh's metrics.
func TestIdentityOverMTLS(t *testing.T) {
	eachUser(t, func(t *testing.T, user bool) {
		m := startMesh(t, user)
		m.sample(httpbinAndCurl)
		m.sample("curl/curl.yaml")
		var out string
		eventually(t, 20*time.Second, func() error {
			var errs string
			var err error
			out, errs, err = m.exec("curl", "curl", "-sS", "-m", "5", "http://httpbin:8000/headers")
			return expect(err == nil && strings.Contains(out, "X-Forwarded-Client-Cert"), "%v %s%s", err, out, errs)
		})
		if !strings.Contains(out, "URI=spiffe://cluster.local/ns/default/sa/curl") || !strings.Contains(out, "By=spiffe://cluster.local/ns/default/sa/httpbin") {
			t.Errorf("XFCC does not name caller and callee:\n%s", out)
		}
		if strings.Contains(strings.ToLower(out), "x-envoy-peer-metadata") {
			t.Errorf("peer metadata reaches the application:\n%s", out)
		}
		eventually(t, 10*time.Second, func() error {
			metrics, _, err := m.exec("httpbin", "curl", "-sS", "http://127.0.0.1:15020/stats/prometheus")
			line := regexp.MustCompile(`istio_requests_total\{[^}]*reporter="destination"[^}]*\} \d`).FindString(metrics)
			return expect(err == nil && strings.Contains(line, `source_principal="spiffe://cluster.local/ns/default/sa/curl"`) &&
				strings.Contains(line, `connection_security_policy="mutual_tls"`) && strings.Contains(line, `source_workload="curl"`),
				"metrics: %v %s", err, line)
		})
	})
}

// TestStrictRefusesPlainText: under STRICT a caller without the mesh's identity
// gets nothing; PERMISSIVE lets it in.
func TestStrictRefusesPlainText(t *testing.T) {
	m := startMesh(t, true)
	m.sample(httpbinAndCurl)
	m.sample("curl/curl.yaml")
	ip := m.podIP("httpbin")
	// A DestinationRule that turns TLS off makes the caller speak plain text.
	m.apply(`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: httpbin-plain}
spec:
  host: httpbin
  trafficPolicy: {tls: {mode: DISABLE}}
`)
	call := func(url string) string {
		out, errs, err := m.exec("curl", "curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", url)
		return fmt.Sprint(strings.TrimSpace(out), " ", strings.TrimSpace(errs), err)
	}
	eventually(t, 20*time.Second, func() error {
		got := call("http://httpbin:8000/get")
		return expect(strings.HasPrefix(got, "200"), "PERMISSIVE: %s", got)
	})
	m.apply(`
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
`)
	for _, url := range []string{"http://httpbin:8000/get", "http://" + ip + ":8080/get"} {
		if got := call(url); strings.HasPrefix(got, "200") {
			t.Errorf("STRICT answered plain text to %s: %s", url, got)
		}
	}
	m.run("delete", "destinationrule", "httpbin-plain")
	eventually(t, 10*time.Second, func() error {
		got := call("http://httpbin:8000/get")
		return expect(strings.HasPrefix(got, "200"), "STRICT with mTLS: %s", got)
	})
}

// podIP gives the address of a workload's first instance, once it has one.
func (m *mesh) podIP(prefix string) (ip string) {
	m.t.Helper()
	eventually(m.t, 20*time.Second, func() error {
		out := m.run("ps")
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			for _, w := range f {
				if len(f) > 2 && strings.HasPrefix(f[1], prefix) && strings.HasPrefix(w, "10.244.") {
					ip = w
					return nil
				}
			}
		}
		return fmt.Errorf("no address of %s in:\n%s", prefix, out)
	})
	return ip
}

// workloadPID finds a process of the sample program with the given name, to look
// at its network namespace from outside.
func workloadPID(t *testing.T, m *mesh, program string) string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		line, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || !bytes.Contains(line, []byte("sample\x00"+program)) {
			continue
		}
		env, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "environ"))
		if bytes.Contains(line, []byte("lateen")) && len(env) > 0 && ownedBy(e.Name(), m) {
			return e.Name()
		}
	}
	t.Fatalf("no process runs the sample %s", program)
	return ""
}

// ownedBy tells whether a process descends from the mesh's own: several meshes
// may run at once.
func ownedBy(pid string, m *mesh) bool {
	for range 20 {
		line, err := os.ReadFile("/proc/" + pid + "/cmdline")
		if err != nil {
			return false
		}
		if bytes.Contains(line, []byte(m.name)) {
			return true
		}
		env, _ := os.ReadFile("/proc/" + pid + "/environ")
		if bytes.Contains(env, []byte("LATEEN_NAME="+m.name)) {
			return true
		}
		stat, err := os.ReadFile("/proc/" + pid + "/stat")
		if err != nil {
			return false
		}
		f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if pid = f[1]; pid == "0" || pid == "1" {
			return false
		}
	}
	return false
}

// TestWireIsTLS13: what two workloads exchange is TLS 1.3, and not one byte of
// HTTP is readable on the wire. Needs root, to look into the namespace.
func TestWireIsTLS13(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("capturing in another process's namespace needs root")
	}
	for _, tool := range []string{"tcpdump", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s: scripts/setup.sh installs it", tool)
		}
	}
	m := startMesh(t, false)
	file := filepath.Join(m.home, "wire.pcap")
	ctx, stop := context.WithCancel(t.Context())
	dump := exec.CommandContext(ctx, "nsenter", "--net=/proc/"+workloadPID(t, m, "details")+"/ns/net",
		"tcpdump", "--immediate-mode", "-i", "eth0", "-U", "-Z", "root", "-w", file, "tcp")
	dump.Cancel = func() error { return dump.Process.Signal(os.Interrupt) }
	var log bytes.Buffer
	dump.Stderr = &log
	if err := dump.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, func() error { return expect(strings.Contains(log.String(), "listening"), "%s", log.String()) })
	for range 10 {
		if code, _ := m.get("/productpage"); code != 200 {
			t.Errorf("productpage: %d", code)
		}
	}
	time.Sleep(300 * time.Millisecond)
	stop()
	dump.Wait()
	wire, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := isTLS13(wire); err != nil {
		t.Errorf("%d bytes captured: %v", len(wire), err)
	}
}

// isTLS13 looks at captured bytes: a ServerHello that chose TLS 1.3 (extension
// supported_versions, RFC 8446 §4.2.1, holding 0x0304), and nothing of HTTP.
func isTLS13(wire []byte) error {
	for _, plain := range []string{"HTTP/1.1", "GET /details", "William Shakespeare", "x-request-id", "X-Request-Id"} {
		if bytes.Contains(wire, []byte(plain)) {
			return fmt.Errorf("%q is readable", plain)
		}
	}
	if !bytes.Contains(wire, []byte{0x00, 0x2b, 0x00, 0x02, 0x03, 0x04}) {
		return fmt.Errorf("no ServerHello with TLS 1.3")
	}
	return nil
}

func TestIsTLS13CanFail(t *testing.T) {
	hello := []byte{0x00, 0x2b, 0x00, 0x02, 0x03, 0x04}
	if err := isTLS13(hello); err != nil {
		t.Error(err)
	}
	for _, wire := range [][]byte{nil, []byte("GET /details/0 HTTP/1.1"), append([]byte("HTTP/1.1 200 OK"), hello...)} {
		if isTLS13(wire) == nil {
			t.Errorf("%q passes", wire)
		}
	}
}

// TestWorkloadsAreConfined: a process in one workload can neither flush its
// redirection, nor set the proxy's mark, nor read the mesh's keys, nor reach
// another workload's namespace.
func TestWorkloadsAreConfined(t *testing.T) {
	eachUser(t, func(t *testing.T, user bool) {
		m := startMesh(t, user)
		m.sample("curl/curl.yaml")
		eventually(t, 20*time.Second, func() error {
			_, errs, err := m.exec("curl", "true")
			return expect(err == nil, "%v %s", err, errs)
		})
		try := func(what, script string) {
			out, errs, err := m.exec("curl", "sh", "-c", script)
			if err == nil {
				t.Errorf("%s succeeded:\n%s%s", what, out, errs)
			}
		}
		// The attempts below count only if what makes them runs there at all.
		for _, tool := range [][]string{{"python3", "-c", "import socket, struct"}, {"/usr/sbin/ip", "link"}, {"nsenter", "--version"}} {
			if _, errs, err := m.exec("curl", tool...); err != nil {
				t.Fatalf("%v does not run in the workload: %v %s", tool, err, errs)
			}
		}
		python := func(code string) string { return `exec python3 -c '` + code + `'` }
		try("setting the proxy's mark", python(`import socket
s=socket.socket(); s.setsockopt(socket.SOL_SOCKET, 36, 1337)`))
		try("a raw netlink request to flush the rules", python(`import socket,struct
s=socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
# NFT_MSG_DELTABLE for every table, inside a batch
def msg(t,f,b): return struct.pack("=IHHII",16+len(b),t,f,1,0)+b
g=struct.pack("=BBH",0,0,0x0a00)
s.send(msg(16,1,g)+msg(0x0a00|2,5,struct.pack("=BBH",2,0,0))+msg(17,1,g))
err=struct.unpack("=i",s.recv(4096)[16:20])[0]
raise SystemExit(1 if err else 0)`))
		try("bringing an interface down", "exec /usr/sbin/ip link set lo down")
		try("entering another namespace", "exec nsenter --net=/proc/1/ns/net true && exec unshare --net true")
		state := m.home + "/state"
		out, errs, _ := m.exec("curl", "sh", "-c", "find "+m.home+" -type f 2>/dev/null | xargs -r grep -l 'PRIVATE KEY' 2>/dev/null; find "+state+" -type f; find "+m.home+"/run ! -type d")
		if strings.TrimSpace(out) != "" {
			t.Errorf("the workload sees the mesh's files below %s:\n%s%s", state, out, errs)
		}
		out, _, _ = m.exec("curl", "sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
		if strings.Contains(out, "reviews") || strings.Contains(out, "lateen up") {
			t.Errorf("the workload sees other processes: %s", out)
		}
		out, _, _ = m.exec("curl", "sh", "-c", "grep -E '^(CapPrm|CapEff|CapBnd|NoNewPrivs)' /proc/self/status")
		if strings.Count(out, "0000000000000000") != 3 || !strings.Contains(out, "NoNewPrivs:\t1") {
			t.Errorf("the workload's privileges:\n%s", out)
		}
		// The redirection is still there after all this.
		if code, errs, err := m.exec("curl", "curl", "-sS", "-m", "5", "-o", "/dev/null", "-w", "%{http_code}", "http://details:9080/details/0"); err != nil || code != "200" {
			t.Errorf("details: %s %s %v", code, errs, err)
		}
	})
}
