// Package apiserver starts a real Kubernetes API server for tests, with an etcd of
// its own and nothing else: no controllers, no nodes. Both live in a directory of
// the test, listen on free loopback ports, and end with the test.
package apiserver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Token authenticates a member of system:masters.
const Token = "lateen-test"

// Server is a running API server. Its methods belong to the test's goroutine.
type Server struct {
	// URL is "https://127.0.0.1:PORT"; it stays over a restart. The certificate is
	// self-signed.
	URL string
	// Kubeconfig is a file for clients.
	Kubeconfig string

	t    testing.TB
	dir  string
	port string
	etcd string // URL
	api  *program
}

// program is a running program; ended is closed when it has ended.
type program struct {
	cmd   *exec.Cmd
	ended chan struct{}
}

// binaries finds what is needed: etcd on the PATH, and kube-apiserver, alone or as
// a part of one binary for all components. LATEEN_KUBE_APISERVER names it.
func binaries() (etcd string, apiserver []string, err error) {
	if etcd, err = exec.LookPath("etcd"); err != nil {
		return "", nil, fmt.Errorf("no etcd: %w", err)
	}
	if path := os.Getenv("LATEEN_KUBE_APISERVER"); path != "" {
		return etcd, []string{path}, nil
	}
	if path, err := exec.LookPath("kube-apiserver"); err == nil {
		return etcd, []string{path}, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", nil, err
	}
	for _, pattern := range []string{"lateen/kube/*/kube-apiserver", "lateen/kube/*/kube", "lateen-testbed/bin/kubeone"} {
		found, err := filepath.Glob(filepath.Join(cache, pattern))
		if err != nil {
			return "", nil, err
		}
		if len(found) > 0 {
			path := found[len(found)-1]
			if filepath.Base(path) != "kube-apiserver" {
				return etcd, []string{path, "kube-apiserver"}, nil
			}
			return etcd, []string{path}, nil
		}
	}
	return "", nil, fmt.Errorf("no kube-apiserver (`make kube` builds one)")
}

// Start starts an API server and waits until it is ready. Where the programs are
// not there, or the test is short, the test is skipped.
func Start(t testing.TB) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("skipped: a real API server takes some seconds")
	}
	etcd, _, err := binaries()
	if err != nil {
		t.Skipf("skipped, since there is no API server to test against: %v", err)
	}
	s := &Server{t: t, dir: t.TempDir(), port: freePort(t)}
	s.URL = "https://127.0.0.1:" + s.port
	s.startEtcd(etcd)
	s.files()
	s.StartAPI()
	t.Cleanup(s.StopAPI)
	return s
}

// startEtcd keeps the data where the file system is memory, if there is such a
// place: etcd waits for the disk with each write.
func (s *Server) startEtcd(path string) {
	data := filepath.Join(s.dir, "etcd")
	if dir, err := os.MkdirTemp("/dev/shm", "lateen-etcd-"); err == nil {
		data = dir
		s.t.Cleanup(func() { os.RemoveAll(dir) })
	}
	port, peer := freePort(s.t), freePort(s.t)
	s.etcd = "http://127.0.0.1:" + port
	s.run("etcd", path, "--data-dir="+data, "--unsafe-no-fsync", "--listen-client-urls="+s.etcd, "--advertise-client-urls="+s.etcd,
		"--listen-peer-urls=http://127.0.0.1:"+peer, "--initial-advertise-peer-urls=http://127.0.0.1:"+peer, "--initial-cluster=default=http://127.0.0.1:"+peer)
}

// files writes the key of service accounts' tokens, the static token and the
// kubeconfig.
func (s *Server) files() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	s.write("sa.key", string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})))
	s.write("tokens.csv", Token+",admin,admin,system:masters\n")
	s.Kubeconfig = s.write("kubeconfig", fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: %q, insecure-skip-tls-verify: true}}]
users: [{name: test, user: {token: %s}}]
contexts: [{name: test, context: {cluster: test, user: test}}]
current-context: test
`, s.URL, Token))
}

func (s *Server) write(name, text string) string {
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// StartAPI starts the API server, again after StopAPI, and waits until it is ready.
func (s *Server) StartAPI() {
	s.t.Helper()
	_, command, err := binaries()
	if err != nil {
		s.t.Fatal(err)
	}
	s.api = s.run("kube-apiserver", command[0], append(command[1:],
		"--etcd-servers="+s.etcd, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--secure-port="+s.port, "--cert-dir="+filepath.Join(s.dir, "certs"),
		"--service-cluster-ip-range=10.96.0.0/16,fd00:96::/112", "--authorization-mode=RBAC", "--token-auth-file="+filepath.Join(s.dir, "tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc", "--api-audiences=https://kubernetes.default.svc,istio-ca",
		"--service-account-key-file="+filepath.Join(s.dir, "sa.key"), "--service-account-signing-key-file="+filepath.Join(s.dir, "sa.key"),
		"--disable-admission-plugins=ServiceAccount", "--profiling=false", "--endpoint-reconciler-type=none")...)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: 2 * time.Second}
	defer client.CloseIdleConnections()
	deadline := time.Now().Add(90 * time.Second)
	for !s.ready(client) {
		select {
		case <-s.api.ended:
			s.t.Fatalf("the API server ended; its last words:\n%s", s.tail("kube-apiserver"))
		case <-time.After(100 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the API server is not ready; its last words:\n%s\netcd's:\n%s", s.tail("kube-apiserver"), s.tail("etcd"))
		}
	}
}

func (s *Server) ready(client *http.Client) bool {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/readyz", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+Token)
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body) // only the status counts
	return res.StatusCode == http.StatusOK
}

// StopAPI kills the API server; etcd keeps what it knows.
func (s *Server) StopAPI() {
	if s.api != nil {
		s.api.kill()
		s.api = nil
	}
}

// run starts a program that ends with the test; its output goes to a file.
func (s *Server) run(name, path string, args ...string) *program {
	log, err := os.OpenFile(filepath.Join(s.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	p := &program{cmd: cmd, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		_ = cmd.Wait() // "signal: killed" is what will be asked for
	}()
	s.t.Cleanup(p.kill)
	return p
}

// kill ends the program, if it runs.
func (p *program) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.ended
}

// tail is the end of a program's output.
func (s *Server) tail(name string) string {
	text, err := os.ReadFile(filepath.Join(s.dir, name+".log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// freePort finds a port that is free now. Another process may take it before the
// server does; the test then fails with the server's words.
func freePort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
