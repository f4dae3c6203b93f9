package push

import (
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// ProxyStatus is one line of `lateen proxy-status`.
type ProxyStatus struct {
	Name      string `json:"name"` // "reviews-v1-0.default"
	Node      string `json:"node"`
	DataPlane string `json:"dataPlane"`
	Agent     string `json:"agent"` // user agent of the node
	// Version is what the node says of its own; "" where it says nothing.
	Version  string    `json:"version,omitempty"`
	Since    time.Time `json:"since"` // of the connection
	Identity string    `json:"identity,omitempty"`
	// Types holds, by Istio's short type ("cds"), the state of the proxy.
	Types map[string]TypeStatus `json:"types"`
	// Revision is the build that is in force, Offered the one that should be.
	Revision int64 `json:"revision"`
	Offered  int64 `json:"offered"`
	// Refusals are the proxy's messages for what it rejects.
	Refusals []string `json:"refusals,omitempty"`
	// Waiting says what is outstanding; "" where nothing is.
	Waiting string `json:"waiting,omitempty"`
}

// SyncState is Istio's word for how far a proxy is with a type.
type SyncState string

// The states.
const (
	Synced  SyncState = "SYNCED"
	Stale   SyncState = "STALE"    // sent, and not answered
	NotSent SyncState = "NOT SENT" // not asked for, or there is nothing
	Nack    SyncState = "NACK"     // refused
)

// TypeStatus is how far a proxy is with one type.
type TypeStatus struct {
	State     SyncState `json:"state"`
	Resources int       `json:"resources"`
	Version   string    `json:"version,omitempty"` // of the last response
	LastSent  time.Time `json:"lastSent,omitzero"`
	LastAck   time.Time `json:"lastAck,omitzero"`
}

// ProxyStatuses tells the state of all connected proxies, by name.
func (e *Engine) ProxyStatuses() []ProxyStatus {
	list := []ProxyStatus{}
	for _, p := range e.Proxies() {
		s := ProxyStatus{
			Name: p.Proxy, Node: p.Node, DataPlane: string(p.DataPlane), Agent: p.Agent, Version: p.Version, Since: p.Since,
			Revision: p.Settled, Offered: p.Offered, Waiting: p.Waiting, Types: map[string]TypeStatus{},
		}
		if p.Identity != nil {
			s.Identity = p.Identity.Namespace + "/" + p.Identity.ServiceAccount
		}
		for _, t := range PushOrder() {
			if t == wire.DemandType {
				continue // no resources, and only some proxies ask for it
			}
			s.Types[shortName(t)] = TypeStatus{State: NotSent}
		}
		for _, t := range p.Types {
			s.Types[shortName(t.TypeURL)] = typeStatus(t)
		}
		for _, f := range p.Refusals {
			s.Refusals = append(s.Refusals, server.ShortType(f.TypeURL)+" "+strconv.Quote(f.Name)+": "+f.Message)
		}
		list = append(list, s)
	}
	return list
}

func typeStatus(t server.TypeReport) TypeStatus {
	s := TypeStatus{State: Stale, Resources: t.Resources, Version: t.Version, LastSent: t.LastSent, LastAck: t.LastAck}
	switch {
	case len(t.Refusals) > 0:
		s.State = Nack
	case t.Synced && t.LastSent.IsZero() && t.Resources == 0:
		s.State = NotSent
	case t.Synced:
		s.State = Synced
	}
	return s
}
