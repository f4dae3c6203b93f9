package upstream

import "github.com/lateen-mesh/lateen/internal/proxy/stream"

// Shrink closes all idle HTTP connections, to free their memory and descriptors.
// New requests make new ones.
func (m *Manager) Shrink() {
	for _, h := range m.all() {
		closeConns(h.takeAllIdle(), stream.Reason{Code: stream.Overload, Detail: "idle upstream connection"})
	}
}

// takeAllIdle takes the connections without a request out of the pools.
func (h *Handle) takeAllIdle() []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []*conn
	for _, x := range h.hosts {
		for c := range x.conns {
			if c.active == 0 && h.retireConn(c) {
				out = append(out, c)
			}
		}
	}
	h.grant()
	return out
}
