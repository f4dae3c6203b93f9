package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// Options configure a connection. Address and Roots are required.
type Options struct {
	Address    string // "host:port"
	ServerName string // "": the host of the address
	Roots      *Roots
	// Certificate is shown to the control plane; nil: none is.
	Certificate func() (*tls.Certificate, error)
	// Dial replaces the dialer, in tests.
	Dial func(ctx context.Context, address string) (net.Conn, error)
}

// backOff spreads the proxies of a mesh that lost one control plane together.
var backOff = backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.5, MaxDelay: 10 * time.Second}

// Dial makes the connection. It is opened when it is first used, and again whenever
// it was lost, to whichever replica the address leads to then.
func Dial(o Options) (*grpc.ClientConn, error) {
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	if o.ServerName != "" {
		host = o.ServerName
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(o.Roots.Client(host, o.Certificate))),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1 << 30)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithReadBufferSize(4 << 10), grpc.WithWriteBufferSize(4 << 10), grpc.WithSharedWriteBuffer(true),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backOff, MinConnectTimeout: 10 * time.Second}),
		grpc.WithNoProxy(), grpc.WithIdleTimeout(0),
	}
	if o.Dial != nil {
		opts = append(opts, grpc.WithContextDialer(o.Dial))
	}
	// The name is resolved at each attempt: what it led to may be gone.
	conn, err := grpc.NewClient("passthrough:///"+o.Address, opts...)
	if err != nil {
		return nil, fmt.Errorf("control plane %s: %w", o.Address, err)
	}
	return conn, nil
}

// Token gives the token that lies in a file, read anew each time: kubelet renews it.
func Token(path string) func() (string, error) {
	return func() (string, error) {
		text, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		token := strings.TrimSpace(string(text))
		if token == "" {
			return "", fmt.Errorf("%s is empty", path)
		}
		return token, nil
	}
}

// Names of the files in a directory of provided or written certificates: Istio's.
const (
	ChainFile = "cert-chain.pem"
	KeyFile   = "key.pem"
	RootFile  = "root-cert.pem"
)

// Certificate gives the certificate that lies in a directory, read anew each time.
func Certificate(dir string) func() (*tls.Certificate, error) {
	return func() (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(filepath.Join(dir, ChainFile), filepath.Join(dir, KeyFile))
		if err != nil {
			return nil, fmt.Errorf("provided certificate: %w", err)
		}
		return &c, nil
	}
}

// WriteCertificate writes a certificate to a directory, the key last, so that who
// waits for the key finds the rest. Each file is replaced at once.
func WriteCertificate(dir string, chain, key, roots []byte) error {
	var errs []error
	for _, f := range []struct {
		name string
		text []byte
		mode os.FileMode
	}{{RootFile, roots, 0o644}, {ChainFile, chain, 0o644}, {KeyFile, key, 0o600}} {
		errs = append(errs, replace(filepath.Join(dir, f.name), f.text, f.mode))
	}
	return errors.Join(errs...)
}

func replace(path string, text []byte, mode os.FileMode) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, text, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
