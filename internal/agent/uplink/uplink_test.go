package uplink

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// pair is a self-signed certificate for a name.
func pair(t *testing.T, name string, ends time.Time) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: ends, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func serve(t *testing.T, cert tls.Certificate) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{cert}})))
	healthv1.RegisterHealthServer(g, health.NewServer())
	go func() { _ = g.Serve(l) }() // ends with Stop
	t.Cleanup(g.Stop)
	return l.Addr().String()
}

func call(t *testing.T, o Options) error {
	t.Helper()
	conn, err := Dial(o)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}

func TestTrust(t *testing.T) {
	good, root := pair(t, "istiod.istio-system.svc", time.Now().Add(time.Hour))
	old, oldRoot := pair(t, "istiod.istio-system.svc", time.Now().Add(-time.Hour))
	_, other := pair(t, "istiod.istio-system.svc", time.Now().Add(time.Hour))
	for _, x := range []struct {
		name, serverName string
		cert             tls.Certificate
		roots            []byte
		err              string
	}{
		{"good", "istiod.istio-system.svc", good, root, ""},
		{"two roots", "istiod.istio-system.svc", good, append(append([]byte(nil), other...), root...), ""},
		{"another root", "istiod.istio-system.svc", good, other, "unknown authority"},
		{"another name", "istiod.elsewhere.svc", good, root, "not istiod.elsewhere.svc"},
		{"the address", "", good, root, "127.0.0.1"},
		{"expired", "istiod.istio-system.svc", old, oldRoot, "expired"},
		{"no roots", "istiod.istio-system.svc", good, []byte("none"), "holds no certificate"},
	} {
		t.Run(x.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "root-cert.pem")
			if err := os.WriteFile(path, x.roots, 0o644); err != nil {
				t.Fatal(err)
			}
			err := call(t, Options{Address: serve(t, x.cert), ServerName: x.serverName, Roots: NewRoots(path)})
			if x.err == "" && err != nil || x.err != "" && (err == nil || !strings.Contains(status.Convert(err).Message(), x.err)) {
				t.Errorf("error %v, want one with %q", err, x.err)
			}
		})
	}
}

// TestRootsChange: roots are read again when the file changes, and the last good ones
// stay while it is broken.
func TestRootsChange(t *testing.T) {
	_, first := pair(t, "a", time.Now().Add(time.Hour))
	_, second := pair(t, "b", time.Now().Add(time.Hour))
	path := filepath.Join(t.TempDir(), "root-cert.pem")
	r := NewRoots(path)
	if _, err := r.Pool(); err == nil {
		t.Error("roots from nowhere")
	}
	at := time.Now().Add(-time.Hour)
	write := func(text []byte) *x509.CertPool {
		t.Helper()
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		at = at.Add(time.Minute)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		p, err := r.Pool()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	one := write(first)
	two := write(second)
	if one.Equal(two) {
		t.Error("the change is not seen")
	}
	if !write([]byte("broken")).Equal(two) {
		t.Error("the last good roots do not stay")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if p, err := r.Pool(); err != nil || !p.Equal(two) {
		t.Error("the last good roots do not stay", err)
	}
}

func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	token := Token(path)
	if _, err := token(); err == nil {
		t.Error("a token from nowhere")
	}
	for text, want := range map[string]string{"one\n": "one", "two": "two"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := token(); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := os.WriteFile(path, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := token(); err == nil {
		t.Error("an empty token passes")
	}
}

// TestCertificateFiles: what is written can be shown.
func TestCertificateFiles(t *testing.T) {
	cert, chain := pair(t, "a", time.Now().Add(time.Hour))
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if _, err := Certificate(dir)(); err == nil {
		t.Error("a certificate from nowhere")
	}
	if err := WriteCertificate(dir, chain, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), chain); err != nil {
		t.Fatal(err)
	}
	got, err := Certificate(dir)()
	if err != nil || string(got.Certificate[0]) != string(cert.Certificate[0]) {
		t.Errorf("%v, %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(dir, KeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
}
