package proxy

import (
	"net/netip"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
)

// declaredHTTP reports whether a listener's route table has a host with the address:
// what is declared to be HTTP is never relayed as something else only because its
// client is silent. Other destinations of the port are nobody's declaration.
func declaredHTTP(l *config.Listener, to netip.AddrPort) bool {
	node, ok := l.Runtime.(*listenerNode)
	if !ok {
		return true
	}
	for _, r := range node.tables {
		if t := r.Table(); t != nil && match.NamesHost(t, to.Addr().String()) {
			return true
		}
	}
	return false
}
