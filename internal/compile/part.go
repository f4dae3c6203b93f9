package compile

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Contribution is a kind of what a host contributes to a proxy's configuration. Each is compiled by
// itself: a change of one leaves the others alone.
type Contribution uint8

// The contributions.
const (
	OfClusters  Contribution = iota // clusters
	OfCalls                         // listeners and virtual hosts
	OfEndpoints                     // the clusters' endpoints
)

// Part is one contribution of a host.
type Part struct {
	Clusters    []ir.Cluster
	Assignments []ir.Assignment
	// Outbound are listeners at addresses of the host's own, Tables the route tables
	// that these name.
	Outbound []ir.Listener
	Tables   []ir.Table
	// Hosts are the host's entries in the tables that all hosts with a port share.
	Hosts []PortHost
	// Claims are what entries want of addresses that others may want too.
	Claims   []Claim
	Statuses []verdict.Status
}

// PortHost is a virtual host of the table of a port.
type PortHost struct {
	Port   uint16
	Host   ir.VirtualHost
	Origin verdict.Origin // of the service
}

// Part compiles a contribution of a host, and tells what it asked for.
func (v *View) Part(h *mesh.Host, what Contribution) (*Part, []Step) {
	v.trace = &trace{}
	defer func() { v.trace = nil }()
	v.read(mesh.Shape, h.Name)
	v.snap.HostFor(client{v}, h.Name) // which of several of the name it is
	part := v.part(h, what)
	return part, v.trace.steps
}

func (v *View) part(h *mesh.Host, what Contribution) *Part {
	c := newCompiler(v)
	c.out = &Part{}
	switch what {
	case OfClusters:
		c.clustersOf(h)
	case OfEndpoints:
		c.endpoints = true
		c.clustersOf(h)
		c.out, c.statuses = &Part{Assignments: c.out.Assignments}, nil
	case OfCalls:
		c.callsOf(h)
	}
	c.out.Statuses = c.statuses
	return c.out
}

// compiler compiles what hosts contribute. It knows the mesh and the client through
// what notes all that is asked, and nothing else.
type compiler struct {
	snap   seen
	client client
	// endpoints tells whether clusters' endpoints are wanted: else nobody asks who
	// serves a host.
	endpoints bool
	out       *Part
	statuses  []verdict.Status
}

func newCompiler(v *View) *compiler { return &compiler{snap: seen{v}, client: client{v}} }

func (c *compiler) say(at verdict.Origin, code verdict.Code, by verdict.Ref, format string, args ...any) {
	c.statuses = append(c.statuses, verdict.Status{Origin: at, Code: code, By: by, Message: fmt.Sprintf(format, args...)})
}
