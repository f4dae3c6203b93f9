package explain

import (
	"fmt"
	"slices"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// notes is the recorder: it keeps what was weighed since it was last read.
type notes struct{ list []match.Candidate }

// Candidate implements match.Recorder.
func (n *notes) Candidate(c match.Candidate) { n.list = append(n.list, c) }

// step makes a step of the notes; related decides which losers are worth a line.
func (n *notes) step(kind string, related func(match.Candidate) bool) Step {
	s := Step{Kind: kind}
	for _, c := range n.list {
		name, origin := identify(c.Node)
		switch {
		case c.Matched:
			s.Name, s.Origin, s.Why = name, origin, c.Why
		case related == nil || related(c):
			s.Lost = append(s.Lost, Lost{Name: name, Origin: origin, Why: c.Why})
		default:
			s.Other++
		}
	}
	n.list = nil
	return s
}

// work is one explanation under way.
type work struct {
	res *Resources
	req *Request
	out *Explanation
	rec notes
}

// Explain tells what the proxy with these resources does with the request.
func Explain(res *Resources, req Request) *Explanation {
	if req.Method == "" {
		req.Method = "GET"
	}
	if req.Path == "" {
		req.Path = "/"
	}
	w := &work{res: res, req: &req, out: &Explanation{Request: headline(&req, res.deps.Gateway)}}
	l := w.listener()
	if l == nil {
		w.fail("no listener takes connections to %s", req.Dest)
		return w.out
	}
	w.chain(l)
	return w.out
}

func headline(r *Request, gateway bool) string {
	side := "from this workload"
	switch {
	case gateway:
		side = "at this gateway"
	case r.Inbound:
		side = "to this workload"
	}
	if r.TCP {
		return fmt.Sprintf("TCP connection %s, address %s", side, r.Dest)
	}
	scheme := "http"
	if r.TLS && !r.Inbound { // towards a workload TLS is the mesh's own
		scheme = "https"
	}
	return fmt.Sprintf("%s %s://%s%s %s, address %s", r.Method, scheme, r.Authority, r.Path, side, r.Dest)
}

// fail ends the explanation where the request ends.
func (w *work) fail(text string, args ...any) {
	w.out.Failure = fmt.Sprintf(text, args...)
	w.out.Answer = "The request fails: " + w.out.Failure
}

// listener finds the listener that accepts, and the one that it hands over to.
func (w *work) listener() *config.Listener {
	dir := stream.Outbound
	if w.req.Inbound {
		dir = stream.Inbound
	}
	all := w.res.sorted()
	set := match.NewListeners(slices.DeleteFunc(slices.Clone(all), func(l *config.Listener) bool {
		return (l.Dir == stream.Inbound) != w.req.Inbound
	}))
	i := slices.IndexFunc(all, func(l *config.Listener) bool {
		return l.Dir == dir && (l.UseOriginalDst || l.Dir == stream.Inbound && l.OriginalDst)
	})
	l := match.FindListener(set, w.req.Dest, &w.rec)
	if l != nil && (l.Bind || i >= 0) {
		w.out.Steps = append(w.out.Steps, w.rec.step("listener", nil))
		return l
	}
	w.rec.list = nil
	if i < 0 {
		return nil
	}
	why := fmt.Sprintf("redirected connections arrive here, and no listener is for %s", w.req.Dest)
	if all[i].Dir == stream.Inbound {
		why = "redirected connections to the workload arrive here"
	}
	w.out.Steps = append(w.out.Steps, Step{Kind: "listener", Name: all[i].Name, Why: why})
	return all[i]
}

// chain finds the filter chain and goes on with what it holds.
func (w *work) chain(l *config.Listener) {
	c := match.FindChain(l, w.facts(l), &w.rec)
	s := w.rec.step("filter chain", nil)
	if c == nil {
		s.Name, s.Why = "none", "no filter chain matches, and the listener has no default chain"
		w.out.Steps = append(w.out.Steps, s)
		w.fail("listener %q closes the connection, for no filter chain takes it", l.Name)
		return
	}
	switch {
	case c.TLS != nil && c.TLS.RequireClient:
		s.Does = append(s.Does, "requires mTLS")
	case c.TLS != nil:
		s.Does = append(s.Does, "ends TLS")
	}
	switch {
	case c.HTTP == nil:
		s.Does = append(s.Does, "passes bytes on without looking into them")
	case w.req.TCP:
		s.Does = append(s.Does, "expects HTTP")
	}
	w.out.Steps = append(w.out.Steps, s)
	switch {
	case c.TCP != nil:
		w.tcp(c.TCP)
	case w.req.TCP:
		w.fail("the chain expects HTTP and answers 400 to anything else")
	default:
		w.http(c.HTTP)
	}
}

// facts are what the listener's inspectors would find.
func (w *work) facts(l *config.Listener) *match.ChainFacts {
	r := w.req
	f := &match.ChainFacts{Dest: r.Dest, Source: r.Source, Transport: "raw_buffer"}
	if !(l.OriginalDst || l.UseOriginalDst || !l.Bind) {
		f.Dest = l.Addr
	}
	switch {
	case r.TLS && l.TLSInspector && !covers(l.TLSInspectorOff, r.Dest.Port()):
		f.Transport, f.ServerName, f.ALPNs = "tls", r.ServerName, r.ALPNs
	case !r.TLS && !r.TCP && l.HTTPInspector && !covers(l.HTTPInspectorOff, r.Dest.Port()):
		f.ALPNs = []string{"http/1.1"}
	}
	return f
}

func covers(list []config.PortRange, port uint16) bool {
	return slices.ContainsFunc(list, func(r config.PortRange) bool { return r.Start <= port && port < r.End })
}

// tcp goes on with a TCP proxy.
func (w *work) tcp(t *config.TCP) {
	chosen := match.PickTCPCluster(t, w.req.Random, &w.rec)
	if chosen == nil {
		w.fail("the TCP proxy has no cluster")
		return
	}
	w.clusters(t.Clusters, t.TotalWeight)
}
