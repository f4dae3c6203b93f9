package hcm

import (
	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// Overload protects the process: overload.Monitor is one.
type Overload interface {
	// LastRequest reports whether a connection should end with its next answer.
	LastRequest() bool
	// Shed decides whether a request is refused; those of high priority come last.
	Shed(high bool, random uint64) bool
	// Why says what is scarce.
	Why() string
}

// overloaded is the header by which Envoy tells that it refused a request to
// protect something.
const overloaded = "x-envoy-overloaded"

// admit refuses a request, routed already, while the process cannot serve all.
func (h *handler) admit(route *config.Route) error {
	o := h.opts.Overload
	if o == nil {
		return nil
	}
	high := route != nil && route.Forward != nil && route.Forward.Priority > 0
	if !o.Shed(high, h.opts.Rand()) {
		return nil
	}
	reply := stream.NewReply(0, stream.Reason{Code: stream.Overload, Detail: o.Why()})
	reply.Headers = [][2]string{{overloaded, "true"}}
	return reply
}

// ease ends the connection with the answer that is about to be written, if the
// process has too much to do: an HTTP/2 client is told that new streams go
// elsewhere.
func (c *Conn) ease() {
	o := c.handler.opts.Overload
	if o == nil || !o.LastRequest() {
		return
	}
	if one, _ := c.codecs(); one == nil {
		c.Drain()
		return
	}
	c.soft.Store(true)
}
