package upstream

import (
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// HashSource is the consistent-hash key of a client's address: that of its text,
// without a port, as in Envoy.
func HashSource(a netip.Addr) uint64 {
	var text [64]byte
	return xxhash.Sum64(a.Unmap().AppendTo(text[:0]))
}
