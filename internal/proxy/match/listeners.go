package match

import (
	"fmt"
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// Listeners is a set of listeners by address, for the hand-over of connections
// that were redirected (use_original_dst). It is immutable.
type Listeners struct {
	exact map[netip.AddrPort]*config.Listener
	any4  map[uint16]*config.Listener // 0.0.0.0
	any6  map[uint16]*config.Listener // ::
}

// NewListeners makes a set. Of two listeners with one address the first stays.
func NewListeners(list []*config.Listener) *Listeners {
	set := &Listeners{
		exact: map[netip.AddrPort]*config.Listener{}, any4: map[uint16]*config.Listener{}, any6: map[uint16]*config.Listener{},
	}
	for _, l := range list {
		port := l.Addr.Port()
		switch a := l.Addr.Addr().Unmap(); {
		case !a.IsUnspecified():
			put(set.exact, netip.AddrPortFrom(a, port), l)
		case a.Is4():
			put(set.any4, port, l)
		default:
			put(set.any6, port, l)
		}
	}
	return set
}

func put[K comparable](m map[K]*config.Listener, key K, l *config.Listener) {
	if m[key] == nil {
		m[key] = l
	}
}

// FindListener returns the listener that a connection for dst is handed to: the
// one with exactly that address, else the one on all addresses of that family with
// that port (:: takes IPv4 too, last). It is nil if the listener that accepted
// keeps the connection; a listener that hands over itself is never chosen.
func FindListener(set *Listeners, dst netip.AddrPort, rec Recorder) *config.Listener {
	dst = netip.AddrPortFrom(dst.Addr().Unmap(), dst.Port())
	if l := set.exact[dst]; l != nil && !l.UseOriginalDst {
		why(rec, l, "its address is the original destination %s", dst)
		return l
	}
	l := set.any6[dst.Port()]
	if dst.Addr().Is4() && set.any4[dst.Port()] != nil {
		l = set.any4[dst.Port()]
	}
	if l == nil || l.UseOriginalDst {
		return nil
	}
	why(rec, l, "it takes port %d of all addresses, and no listener has exactly %s", dst.Port(), dst)
	return l
}

func why(rec Recorder, node any, text string, args ...any) {
	if rec != nil {
		rec.Candidate(Candidate{Node: node, Matched: true, Why: fmt.Sprintf(text, args...)})
	}
}
