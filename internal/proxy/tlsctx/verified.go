package tlsctx

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"sync"
	"time"
)

// maxVerified bounds the chains that one epoch of a context remembers.
const maxVerified = 1024

// verified remembers which chains one verifier has accepted, so that a peer that
// comes again, and every resumed session, costs a hash and not signatures. What it
// knows holds for one set of roots and rules: a verifier serves one epoch. Only the
// clock can take it back. The zero value is ready.
type verified struct {
	mu sync.Mutex
	by map[[sha256.Size]byte]validity // guarded by mu
}

// validity is when all certificates of a chain are valid.
type validity struct{ from, to time.Time }

// chainKey identifies a chain as the peer sent it.
func chainKey(certs []*x509.Certificate) (key [sha256.Size]byte) {
	if len(certs) == 1 {
		return sha256.Sum256(certs[0].Raw)
	}
	h := sha256.New()
	var size [8]byte
	for _, c := range certs {
		binary.BigEndian.PutUint64(size[:], uint64(len(c.Raw)))
		h.Write(size[:])
		h.Write(c.Raw)
	}
	h.Sum(key[:0])
	return key
}

// has reports whether the chain was accepted and is valid now.
func (v *verified) has(key [sha256.Size]byte, now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	w, ok := v.by[key]
	return ok && !now.Before(w.from) && !now.After(w.to)
}

// add remembers a chain with all the paths to a root that were found for it. At the
// bound an arbitrary one is forgotten.
func (v *verified) add(key [sha256.Size]byte, paths [][]*x509.Certificate) {
	var w validity
	for _, path := range paths {
		for _, c := range path {
			if w.from.IsZero() || c.NotBefore.After(w.from) {
				w.from = c.NotBefore
			}
			if w.to.IsZero() || c.NotAfter.Before(w.to) {
				w.to = c.NotAfter
			}
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.by == nil {
		v.by = make(map[[sha256.Size]byte]validity)
	}
	if len(v.by) >= maxVerified {
		for old := range v.by {
			delete(v.by, old)
			break
		}
	}
	v.by[key] = w
}
