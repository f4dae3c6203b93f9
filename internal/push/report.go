package push

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/verdict"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// ProxyState is how far one proxy is with a revision.
type ProxyState struct {
	Proxy    string // "reviews-v1-0.default"
	InForce  bool
	Rejected bool
	Reason   string         // of a rejection; of a pending one what it waits for
	Object   verdict.Origin // that the rejected resource was made from; zero if unknown
}

// Wait blocks until every connected proxy has answered everything of the store's
// revision, or ctx ends, and tells how far each is then.
func (e *Engine) Wait(ctx context.Context, revision int64) []ProxyState {
	for {
		changed := e.Changed()
		states, done := e.states(revision)
		if done {
			return states
		}
		select {
		case <-changed:
		case <-ctx.Done():
			states, _ = e.states(revision)
			return states
		}
	}
}

// states tells how far each proxy is; done when nobody is pending.
func (e *Engine) states(revision int64) (list []ProxyState, done bool) {
	built := e.Built()
	done = built != nil && built.Revision >= revision
	for _, c := range e.Conns() {
		s := ProxyState{Proxy: ProxyName(c.Node.GetId())}
		r := c.Report()
		refusals := r.Refusals()
		switch {
		case len(refusals) > 0:
			f := refusals[0]
			s.Rejected, s.Reason = true, fmt.Sprintf("%s %s: %s", server.ShortType(f.TypeURL), f.Name, f.Message)
			s.Object = e.originOf(c.Node.GetId(), f)
			done = done && r.Offered >= revision
		case r.Settled >= revision:
			s.InForce = true
		case r.Offered < revision:
			s.Reason, done = "the change is being compiled", false
		default:
			s.Reason, done = "it has not answered: "+unanswered(r), false
		}
		list = append(list, s)
	}
	return list, done
}

func unanswered(r server.Report) string {
	var types []string
	for _, t := range r.Types {
		if !t.Synced {
			types = append(types, server.ShortType(t.TypeURL))
		}
	}
	if len(types) == 0 {
		return "removals"
	}
	return strings.Join(types, ", ")
}

// originOf finds the object behind a refused resource.
func (e *Engine) originOf(node string, f server.Refusal) verdict.Origin {
	r, ok := e.proxyResult(node)
	if !ok {
		return verdict.Origin{}
	}
	origins := r.origins[server.ShortType(f.TypeURL)+"/"+f.Name]
	if len(origins) == 0 {
		return verdict.Origin{}
	}
	return origins[0]
}

// ProxyName gives "reviews-v1-0.default" for a node id.
func ProxyName(node string) string {
	if p := strings.Split(node, "~"); len(p) == 4 {
		return p[2]
	}
	return node
}

// Statuses gives the verdicts on all objects and the store's revision that they
// were made from, refusals of proxies among them.
func (e *Engine) Statuses() ([]verdict.Status, int64) {
	list, revision := e.allStatuses()
	for _, c := range e.Conns() {
		for _, f := range c.Report().Refusals() {
			if o := e.originOf(c.Node.GetId(), f); !o.IsZero() {
				list = append(list, verdict.Status{Origin: o, Code: verdict.Unsupported,
					Message: fmt.Sprintf("the proxy %s refuses the %s %s and goes on with what it had: %s",
						ProxyName(c.Node.GetId()), strings.ToLower(server.ShortType(f.TypeURL)), f.Name, f.Message)})
			}
		}
	}
	return verdict.Sort(list), revision
}

// ProxyStatus is one line of `lateen proxy-status`.
type ProxyStatus struct {
	Name  string            `json:"name"`
	Node  string            `json:"node"`
	Agent string            `json:"agent"` // user agent of the node
	Since time.Time         `json:"since"`
	Types map[string]string `json:"types"` // by short type: SYNCED, STALE, NOT SENT, NACK
	// Refusals are the proxy's messages for what it rejects.
	Refusals []string `json:"refusals,omitempty"`
	Revision int64    `json:"revision"` // in force
}

// Proxies tells the state of all connected proxies.
func (e *Engine) Proxies() []ProxyStatus {
	var out []ProxyStatus
	for _, c := range e.Conns() {
		r := c.Report()
		s := ProxyStatus{Name: ProxyName(c.Node.GetId()), Node: c.Node.GetId(), Agent: c.Node.GetUserAgentName(), Since: c.Since, Revision: r.Settled, Types: map[string]string{}}
		for _, t := range Types {
			s.Types[server.ShortType(t)] = "NOT SENT"
		}
		for _, t := range r.Types {
			state := "STALE"
			switch {
			case len(t.Refusals) > 0:
				state = "NACK"
			case t.Synced && t.LastSent.IsZero() && t.Resources == 0:
				state = "NOT SENT"
			case t.Synced:
				state = "SYNCED"
			}
			s.Types[server.ShortType(t.TypeURL)] = state
		}
		for _, f := range r.Refusals() {
			s.Refusals = append(s.Refusals, f.Name+": "+f.Message)
		}
		out = append(out, s)
	}
	return out
}
