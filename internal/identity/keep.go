package identity

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/proxy/tlsctx"
	"github.com/lateen-mesh/lateen/internal/spiffe"
)

// Keeper keeps a workload's key and certificate from one process to the next.
type Keeper interface {
	// Load gives what was saved, in PEM; an error that wraps fs.ErrNotExist if nothing
	// was.
	Load() (chain, key, roots []byte, err error)
	// Save replaces what was saved.
	Save(chain, key, roots []byte) error
}

// keepFile holds key, certificate chain and roots in one file, so that they are
// exchanged together.
const keepFile = "identity.pem"

// Memory keeps the identity in a directory in memory. Such a volume of a pod is mounted
// only by the proxy's container and goes with the pod; what is in it never reaches a
// disk. A container that starts again while the authority is away can then go on
// speaking mutual TLS, which it could not with a key in the process only.
type Memory struct{ dir string }

// NewMemory keeps in a directory, which must be on a file system in memory.
func NewMemory(dir string) (*Memory, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	if t := int64(s.Type); t != unix.TMPFS_MAGIC && t != unix.RAMFS_MAGIC {
		return nil, fmt.Errorf("%s is not in memory: no key is written there", dir)
	}
	return &Memory{dir}, nil
}

// Blocks of the file beside certificates of the chain.
const (
	keyBlock  = "PRIVATE KEY"
	certBlock = "CERTIFICATE"
	rootBlock = "TRUSTED ROOTS" // holds the roots' PEM
)

// Load implements Keeper.
func (m *Memory) Load() (chain, key, roots []byte, err error) {
	text, err := os.ReadFile(filepath.Join(m.dir, keepFile))
	if err != nil {
		return nil, nil, nil, err
	}
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			break
		}
		switch b.Type {
		case keyBlock:
			key = pem.EncodeToMemory(b)
		case certBlock:
			chain = append(chain, pem.EncodeToMemory(b)...)
		case rootBlock:
			roots = b.Bytes
		}
	}
	if chain == nil || key == nil || roots == nil {
		return nil, nil, nil, fmt.Errorf("%s is not complete", keepFile)
	}
	return chain, key, roots, nil
}

// Save implements Keeper.
func (m *Memory) Save(chain, key, roots []byte) error {
	text := append(append([]byte(nil), key...), chain...)
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: rootBlock, Bytes: roots})...)
	tmp := filepath.Join(m.dir, keepFile+".new")
	if err := os.WriteFile(tmp, text, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(m.dir, keepFile))
}

// leastLeft is what a kept certificate must be good for at least.
const leastLeft = 10 * time.Second

// restore takes the kept identity, if there is one that is still good, and returns
// how long to wait before it is renewed.
func (i *Identity) restore() (wait time.Duration, ok bool) {
	if i.o.Keep == nil {
		return 0, false
	}
	s, err := i.load()
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			i.o.Log.Warn("the kept certificate is not used", "err", err)
		}
		return 0, false
	}
	i.use(s)
	i.o.Log.Info("certificate kept from an earlier start", "identity", i.o.ID.String(), "until", s.leaf.NotAfter)
	return i.untilRenewal(s), true
}

func (i *Identity) load() (*state, error) {
	chain, key, roots, err := i.o.Keep.Load()
	if err != nil {
		return nil, err
	}
	s, err := parseState(i.o.ID, chain, key, roots)
	if err != nil {
		return nil, err
	}
	if now := i.o.Now(); now.Add(leastLeft).After(s.leaf.NotAfter) || now.Before(s.leaf.NotBefore) {
		return nil, fmt.Errorf("it is valid from %s to %s", s.leaf.NotBefore, s.leaf.NotAfter)
	}
	return s, nil
}

// parseState checks a certificate, wherever it comes from, before anything uses it.
func parseState(id spiffe.ID, chain, key, roots []byte) (*state, error) {
	s := &state{certPEM: chain, keyPEM: key, rootPEM: roots}
	var err error
	if s.cert, err = tlsctx.ParseSecret(chain, key, nil); err != nil {
		return nil, err
	}
	if s.roots, err = tlsctx.ParseSecret(nil, nil, roots); err != nil {
		return nil, err
	}
	s.leaf = s.cert.Certificate.Leaf
	if !isFor(s.leaf, id) {
		return nil, fmt.Errorf("it is a certificate for %v, not for %s", s.leaf.URIs, id)
	}
	return s, nil
}

func isFor(leaf *x509.Certificate, id spiffe.ID) bool {
	return len(leaf.URIs) == 1 && leaf.URIs[0].String() == id.String()
}
