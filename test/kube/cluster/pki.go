package cluster

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// pair is a certificate and its key.
type pair struct {
	cert    *x509.Certificate
	key     *ecdsa.PrivateKey
	certPEM []byte
	keyPEM  []byte
}

// issue makes a certificate from a template, signed by ca, or by itself.
func issue(ca *pair, t x509.Certificate) (*pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, err
	}
	t.NotBefore, t.NotAfter = time.Now().Add(-time.Hour), time.Now().AddDate(1, 0, 0)
	t.KeyUsage |= x509.KeyUsageDigitalSignature
	parent, signer := &t, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &t, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	text, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &pair{
		cert: cert, key: key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: text}),
	}, nil
}

func newCA(name string) (*pair, error) {
	return issue(nil, x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
}

// clientOf makes a client certificate: to Kubernetes, the common name is the user
// and the organisations are the groups.
func clientOf(ca *pair, user string, groups ...string) (*pair, error) {
	return issue(ca, x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// pkiDir writes key material to a folder.
type pkiDir struct {
	dir    string
	server string // URL of the API server, for kubeconfigs
}

func (d pkiDir) save(name string, p *pair) error {
	return errors.Join(
		os.WriteFile(filepath.Join(d.dir, name+".crt"), p.certPEM, 0o600),
		os.WriteFile(filepath.Join(d.dir, name+".key"), p.keyPEM, 0o600),
	)
}

func (d pkiDir) load(name string) (*pair, error) {
	both, err := os.ReadFile(filepath.Join(d.dir, name+".crt"))
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(filepath.Join(d.dir, name+".key"))
	if err != nil {
		return nil, err
	}
	certBlock, _ := pem.Decode(both)
	keyBlock, _ := pem.Decode(keyPEM)
	if certBlock == nil || keyBlock == nil {
		return nil, fmt.Errorf("%s in %s is no PEM", name, d.dir)
	}
	cert, err := x509.ParseCertificate(certBlock.Bytes)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(keyBlock.Bytes)
	return &pair{cert: cert, key: key, certPEM: both, keyPEM: keyPEM}, err
}

func (d pkiDir) kubeconfig(name string, ca, client *pair) error {
	b := base64.StdEncoding.EncodeToString
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: lateen-test
contexts:
- name: lateen-test
  context: {cluster: lateen-test, user: %s}
clusters:
- name: lateen-test
  cluster:
    server: %s
    certificate-authority-data: %s
users:
- name: %s
  user:
    client-certificate-data: %s
    client-key-data: %s
`, name, d.server, b(ca.certPEM), name, b(client.certPEM), b(client.keyPEM))
	return os.WriteFile(filepath.Join(d.dir, name+".kubeconfig"), []byte(text), 0o600)
}

func (c *Cluster) keys() pkiDir {
	return pkiDir{dir: c.pki(), server: "https://" + net.JoinHostPort(c.first.address, "6443")}
}

// writePKI writes what the components know each other by.
func (c *Cluster) writePKI(context.Context) error {
	d := c.keys()
	if err := os.MkdirAll(d.dir, 0o700); err != nil {
		return err
	}
	ca, err := newCA("kubernetes")
	if err != nil {
		return err
	}
	front, err := newCA("front-proxy")
	if err != nil {
		return err
	}
	server, err := issue(ca, x509.Certificate{
		Subject:     pkix.Name{CommonName: "kube-apiserver"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.ParseIP(c.first.address), net.ParseIP(apiService), net.IPv4(127, 0, 0, 1)},
		DNSNames:    []string{"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local", "localhost"},
	})
	if err != nil {
		return err
	}
	if err := errors.Join(d.save("ca", ca), d.save("front-proxy-ca", front), d.save("apiserver", server), d.serviceAccountKey()); err != nil {
		return err
	}
	for _, k := range []struct {
		name string
		ca   *pair
		user string
		org  []string
	}{
		{"apiserver-kubelet-client", ca, "kube-apiserver-kubelet-client", []string{"system:masters"}},
		{"front-proxy-client", front, "front-proxy-client", nil},
		{"admin", ca, "admin", []string{"system:masters"}},
		{"controller-manager", ca, "system:kube-controller-manager", nil},
		{"scheduler", ca, "system:kube-scheduler", nil},
		{"proxy", ca, "system:kube-proxy", nil},
	} {
		p, err := clientOf(k.ca, k.user, k.org...)
		if err != nil {
			return err
		}
		if err := errors.Join(d.save(k.name, p), d.kubeconfig(k.name, ca, p)); err != nil {
			return err
		}
	}
	return c.writeNodePKI(c.first)
}

// writeNodePKI writes a kubelet's serving certificate and its kubeconfig.
func (c *Cluster) writeNodePKI(m *machine) error {
	d := c.keys()
	ca, err := d.load("ca")
	if err != nil {
		return err
	}
	name := "system:node:" + m.node
	serving, err := issue(ca, x509.Certificate{
		Subject:     pkix.Name{CommonName: name, Organization: []string{"system:nodes"}},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.ParseIP(m.address)}, DNSNames: []string{m.node},
	})
	if err != nil {
		return err
	}
	client, err := clientOf(ca, name, "system:nodes")
	if err != nil {
		return err
	}
	return errors.Join(d.save("kubelet-"+m.node, serving), d.kubeconfig("kubelet-"+m.node, ca, client))
}

// serviceAccountKey writes the key that signs service account tokens.
func (d pkiDir) serviceAccountKey() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return err
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return errors.Join(
		os.WriteFile(filepath.Join(d.dir, "sa.key"), private, 0o600),
		os.WriteFile(filepath.Join(d.dir, "sa.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), 0o600),
	)
}
