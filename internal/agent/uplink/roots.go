package uplink

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Roots are the roots that a control plane's certificate is checked with. They are
// read again whenever the file has changed. Safe for concurrent use.
type Roots struct {
	path string // "": the system's

	mu      sync.Mutex
	pool    *x509.CertPool // guarded by mu
	changed time.Time      // guarded by mu: the file's time when it was read
	size    int64          // guarded by mu
}

// NewRoots takes the roots from a file in PEM; "" takes the system's. The file need
// not be there yet: kubelet may mount it before its content has come.
func NewRoots(path string) *Roots { return &Roots{path: path} }

// Pool gives the roots as they are now. While the file cannot be read, or holds no
// certificate, the last good ones stay.
func (r *Roots) Pool() (*x509.CertPool, error) {
	if r.path == "" {
		return x509.SystemCertPool()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	pool, err := r.read()
	if err == nil {
		return pool, nil
	}
	if r.pool != nil {
		return r.pool, nil
	}
	return nil, fmt.Errorf("roots of the control plane: %w", err)
}

// read reads the file if it changed. Called with mu held.
func (r *Roots) read() (*x509.CertPool, error) {
	info, err := os.Stat(r.path) // follows the link that kubelet exchanges
	if err != nil {
		return nil, err
	}
	if r.pool != nil && info.ModTime().Equal(r.changed) && info.Size() == r.size {
		return r.pool, nil
	}
	text, err := os.ReadFile(r.path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", r.path)
	}
	r.pool, r.changed, r.size = pool, info.ModTime(), info.Size()
	return pool, nil
}

// Client gives the settings of a TLS client that checks servers with these roots and
// for this name. certificate, if set, gives the certificate to show; it is asked anew
// for every handshake, as the roots are.
func (r *Roots) Client(serverName string, certificate func() (*tls.Certificate, error)) *tls.Config {
	cfg := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: serverName,
		// The roots change while the settings live: the check below is the standard one,
		// with the roots of the moment.
		InsecureSkipVerify: true,
		VerifyConnection:   func(c tls.ConnectionState) error { return r.verify(c, serverName) },
	}
	if certificate != nil {
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate() }
	}
	return cfg
}

func (r *Roots) verify(c tls.ConnectionState, serverName string) error {
	if len(c.PeerCertificates) == 0 {
		return errors.New("the control plane shows no certificate")
	}
	pool, err := r.Pool()
	if err != nil {
		return err
	}
	o := x509.VerifyOptions{Roots: pool, Intermediates: x509.NewCertPool(), DNSName: strings.TrimSuffix(serverName, ".")}
	for _, cert := range c.PeerCertificates[1:] {
		o.Intermediates.AddCert(cert)
	}
	if _, err := c.PeerCertificates[0].Verify(o); err != nil {
		return fmt.Errorf("the control plane's certificate: %w", err)
	}
	return nil
}
