package mesh

import "github.com/lateen-mesh/lateen/internal/registry"

// Client is who calls: the facts on which policies and rules depend. They are asked
// one by one, and no more of them than decide, so that whoever keeps a result knows
// for which other clients it holds.
type Client interface {
	// In reports whether the client is of a namespace.
	In(namespace string) bool
	// Carries reports whether the client has all of the labels.
	Carries(labels map[string]string) bool
}

// Caller is a client whose facts are at hand.
type Caller struct {
	Namespace string
	Labels    map[string]string
}

// In implements Client.
func (c Caller) In(namespace string) bool { return c.Namespace == namespace }

// Carries implements Client.
func (c Caller) Carries(labels map[string]string) bool { return registry.Matches(labels, c.Labels) }

// seenBy reports whether something of the namespace home, exported to exportTo, is
// visible for a client. An empty list means everywhere.
func seenBy(exportTo []string, home string, c Client) bool {
	if len(exportTo) == 0 {
		return true
	}
	for _, e := range exportTo {
		if e == "*" {
			return true
		}
	}
	for _, e := range exportTo {
		if e == "." {
			e = home
		}
		if c.In(e) {
			return true
		}
	}
	return false
}
