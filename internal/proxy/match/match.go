// Package match decides, purely: which listener, filter chain, virtual host,
// route and cluster serve a connection or request. The proxy runs it while
// serving, and explain runs the same code with a Recorder. It also holds the pure
// rewrites that a matched route asks for: paths, redirects, headers.
//
// Nothing here blocks, locks or reads a clock; random numbers come as arguments.
// The look-ups allocate nothing when the Recorder is nil.
package match

import (
	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// Recorder is told of every candidate that a look-up weighs, in order. It is nil
// while serving.
type Recorder interface {
	Candidate(Candidate)
}

// Candidate is one node that was weighed.
type Candidate struct {
	Node    any    // *config.Listener, *config.FilterChain, *config.VirtualHost, *config.Route or *config.WeightedCluster
	Matched bool   // it was chosen
	Why     string // one clause: why it was, or was not
}

// Prepare builds the indexes of a parsed *config.RouteTable, or of the inline
// tables of a *config.Listener; other nodes need none. Call it once, before the
// node is published. Look-ups in a table that was not prepared scan it: they give
// the same answers, slower.
func Prepare(node any) {
	switch n := node.(type) {
	case *config.RouteTable:
		prepareTable(n)
	case *config.Listener:
		for _, c := range n.Chains {
			prepareChain(c)
		}
		prepareChain(n.DefaultChain)
	}
}

func prepareChain(c *config.FilterChain) {
	if c != nil && c.HTTP != nil && c.HTTP.Inline != nil {
		prepareTable(c.HTTP.Inline)
	}
}
