package mesh

import (
	"fmt"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Target is a destination that exists.
type Target struct {
	Host   *Host
	Port   *Port
	Subset string
}

// Missing is what a destination lacks.
type Missing struct {
	Message string
	By      verdict.Ref // what would make it whole
}

// Resolve finds what a destination names, as a client sees it. Where the
// destination has no port, the host's only port is meant, else the port that was
// called (called; 0 if that is not known). It returns why it failed otherwise.
func (s *Snapshot) Resolve(d *Destination, c Client, called uint16) (Target, *Missing) {
	h, ok := s.HostFor(c, d.Host)
	if !ok {
		return Target{}, &Missing{Message: fmt.Sprintf("the host %s is not known", d.Host), By: serviceRef(d.Host)}
	}
	t := Target{Host: h, Subset: d.Subset}
	switch {
	case d.Port != 0:
		t.Port = h.Port(d.Port)
	case len(h.Ports) == 1:
		t.Port = h.Ports[0]
	default:
		t.Port = h.Port(called)
	}
	if t.Port == nil {
		if d.Port == 0 {
			return Target{}, &Missing{Message: fmt.Sprintf("the host %s has %d ports, and the destination names none", d.Host, len(h.Ports)), By: h.Ref()}
		}
		return Target{}, &Missing{Message: fmt.Sprintf("the host %s has no port %d", d.Host, d.Port), By: h.Ref()}
	}
	if d.Subset != "" && s.Policy(c, h).Subset(d.Subset) == nil {
		return Target{}, &Missing{
			Message: fmt.Sprintf("no DestinationRule defines the subset %s of %s", d.Subset, d.Host),
			By:      verdict.Ref{Kind: "DestinationRule", Namespace: h.Service.Namespace, Name: h.Service.Name},
		}
	}
	return t, nil
}
