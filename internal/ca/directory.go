package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/internal/spiffe"
)

// Options say where the authority of a mesh on one machine keeps its root.
type Options struct {
	Dir         string // holds the root's key and certificate; made with mode 0700
	TrustDomain string // default cluster.local
	// Lifetime of workload certificates; default 24 h.
	Lifetime time.Duration
	Now      func() time.Time // default time.Now
}

// Open reads the authority of a mesh from its directory, and makes a new
// self-signed root there the first time.
func Open(o Options) (*Authority, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.TrustDomain == "" {
		o.TrustDomain = spiffe.DefaultTrustDomain
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	issuer, err := openDirectory(o)
	if err != nil {
		return nil, fmt.Errorf("certificate authority in %s: %w", o.Dir, err)
	}
	return NewAuthority(issuer, Terms{TrustDomain: o.TrustDomain, Lifetime: o.Lifetime, Now: o.Now})
}

// openDirectory reads key and certificate. Where only the key is there, the mesh
// ended between writing the one and the other: the certificate is made for that
// key.
func openDirectory(o Options) (*Issuer, error) {
	keyPEM, err := loadKey(o.Dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(o.Dir, certFile)
	certPEM, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key, err := parseKey(keyPEM)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", keyFile, err)
		}
		parts, err := newRoot(o.TrustDomain, key, o.Now())
		if err != nil {
			return nil, err
		}
		certPEM = parts[certFile]
		if err := writeFile(path, certPEM, 0o644); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	return ParseIssuer(map[string][]byte{certFile: certPEM, keyFile: keyPEM}, o.Now())
}

// loadKey reads the root's key and makes it the first time. A certificate without
// its key is an error: a new root would cut off every workload.
func loadKey(dir string) ([]byte, error) {
	path := filepath.Join(dir, keyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, certFile)); err == nil {
			return nil, fmt.Errorf("%s is there, but its key %s is lost", certFile, keyFile)
		}
		return createKey(path)
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s is readable by others (mode %v): remove the rights of group and others", keyFile, info.Mode().Perm())
	}
	return text, nil
}

func createKey(path string) ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return text, writeFile(path, text, 0o600)
}

// writeFile writes a new file completely or not at all.
func writeFile(path string, data []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = errors.Join(f.Chmod(mode), write(f, data), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func write(f *os.File, data []byte) error {
	_, err := f.Write(data)
	return err
}
