package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
)

// ttl of the mesh's answers in seconds: Istio's.
const ttl = 30

// Upstream asks somebody else. The reply's id is the question's.
type Upstream interface {
	Exchange(ctx context.Context, m *dns.Msg, tcp bool) (*dns.Msg, error)
}

// Options configure a Server. Table and Namespace are required.
type Options struct {
	Table     *Table
	Namespace string // of the workload
	Domain    string // default cluster.local
	// Search is the workload's search path; nil: Kubernetes'.
	Search []string
	// Partial says that the table holds only some of the names in Domain: for the
	// others the upstream is asked. An empty table then knows nothing.
	Partial  bool
	Upstream Upstream
	// MaxUpstream is how many questions wait for the upstream at once; what is above
	// fails at once (0: 512).
	MaxUpstream int
	Log         *slog.Logger
}

// Stats count questions. All are safe for concurrent use.
type Stats struct {
	Requests, Upstream, UpstreamFailures, Overflow atomic.Uint64
}

// Server answers one workload.
type Server struct {
	resolver resolver
	upstream Upstream
	slots    chan struct{} // questions that wait for the upstream
	stats    Stats
	log      *slog.Logger
}

// defaultUpstream is enough for a busy workload, and bounds what a broken resolver
// or a loop can hold.
const defaultUpstream = 512

// New makes a server; Serve runs it.
func New(o Options) *Server {
	if o.Domain == "" {
		o.Domain = "cluster.local"
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Upstream == nil {
		o.Upstream = NewHost("")
	}
	if o.Search == nil {
		o.Search = SearchPath(o.Namespace, o.Domain)
	}
	if o.MaxUpstream <= 0 {
		o.MaxUpstream = defaultUpstream
	}
	return &Server{
		resolver: resolver{o.Table, o.Search, o.Domain, o.Partial}, upstream: o.Upstream,
		slots: make(chan struct{}, o.MaxUpstream), log: o.Log,
	}
}

// Stats are the server's counters.
func (s *Server) Stats() *Stats { return &s.stats }

// Serve answers questions on both sockets, which it closes, until ctx ends.
func (s *Server) Serve(ctx context.Context, udp net.PacketConn, tcp net.Listener) error {
	h := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) { s.handle(ctx, w, m) })
	servers := []*dns.Server{{PacketConn: udp, Handler: h}, {Listener: tcp, Handler: h}}
	ended := make(chan error, len(servers))
	for _, srv := range servers {
		started := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(started) }
		go func() { ended <- srv.ActivateAndServe() }()
		select {
		case <-started: // Shutdown would not stop one that has not
		case err := <-ended:
			return errors.Join(fmt.Errorf("serving names: %w", err), udp.Close(), tcp.Close())
		}
	}
	var failed error
	left := len(servers)
	select {
	case <-ctx.Done():
	case failed = <-ended:
		left--
	}
	// Questions that wait for the host's resolvers end with ctx.
	for _, srv := range servers {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		if err := srv.ShutdownContext(grace); err != nil && failed == nil {
			s.log.Debug("names: shutdown", "error", err)
		}
		cancel()
	}
	for range left {
		<-ended
	}
	if failed != nil && ctx.Err() == nil {
		return fmt.Errorf("serving names: %w", failed)
	}
	return nil
}

func (s *Server) handle(ctx context.Context, w dns.ResponseWriter, m *dns.Msg) {
	_, tcp := w.RemoteAddr().(*net.TCPAddr)
	r := s.answer(ctx, m, tcp)
	if !tcp {
		size := dns.MinMsgSize
		if opt := m.IsEdns0(); opt != nil {
			size = max(size, int(opt.UDPSize()))
		}
		r.Truncate(size)
	}
	if err := w.WriteMsg(r); err != nil {
		s.log.Debug("names: answer not sent", "error", err)
	}
}

// answer answers one message. Anything but one question of class IN is the
// upstream's affair.
func (s *Server) answer(ctx context.Context, m *dns.Msg, tcp bool) *dns.Msg {
	s.stats.Requests.Add(1)
	if len(m.Question) != 1 {
		return new(dns.Msg).SetRcode(m, dns.RcodeFormatError)
	}
	q := m.Question[0]
	if q.Qclass != dns.ClassINET || m.Opcode != dns.OpcodeQuery {
		return s.forward(ctx, m, tcp)
	}
	if q.Qtype == dns.TypePTR {
		if r := s.reverse(m, q); r != nil {
			return r
		}
		return s.forward(ctx, m, tcp)
	}
	found := s.resolver.find(canonical(q.Name))
	if found.verdict == foreign {
		return s.forward(ctx, m, tcp)
	}
	if s.resolver.partial && q.Qtype != dns.TypeA && q.Qtype != dns.TypeAAAA {
		// The mesh knows addresses; mail exchangers and the like of a name that is also
		// the world's are the world's to say. That the name is there, the mesh knows.
		if r := s.forward(ctx, m, tcp); r.Rcode != dns.RcodeNameError {
			return r
		}
	}
	return s.own(m, q, found)
}

// forward asks the upstream.
func (s *Server) forward(ctx context.Context, m *dns.Msg, tcp bool) *dns.Msg {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		s.stats.Overflow.Add(1)
		return new(dns.Msg).SetRcode(m, dns.RcodeServerFailure)
	}
	s.stats.Upstream.Add(1)
	r, err := s.upstream.Exchange(ctx, m, tcp)
	if err != nil {
		s.stats.UpstreamFailures.Add(1)
		s.log.Debug("names: the host's resolvers do not answer", "name", m.Question[0].Name, "error", err)
		return new(dns.Msg).SetRcode(m, dns.RcodeServerFailure)
	}
	return r
}

// own answers from the table: A records; no records for other types of a name
// that exists (RFC 2308 §2.2); a name error for one that does not.
func (s *Server) own(m *dns.Msg, q dns.Question, found answer) *dns.Msg {
	r := s.reply(m)
	if found.verdict == missing {
		r.Rcode = dns.RcodeNameError
	}
	name := q.Name
	if found.alias != "" {
		name = dns.Fqdn(found.alias)
	}
	for _, a := range found.addrs {
		h := dns.RR_Header{Name: name, Class: dns.ClassINET, Ttl: ttl}
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			h.Rrtype = dns.TypeA
			r.Answer = append(r.Answer, &dns.A{Hdr: h, A: a.AsSlice()})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			h.Rrtype = dns.TypeAAAA
			r.Answer = append(r.Answer, &dns.AAAA{Hdr: h, AAAA: a.AsSlice()})
		}
	}
	if len(r.Answer) == 0 {
		r.Ns = []dns.RR{s.soa()}
	}
	// Clients take the first address.
	rand.Shuffle(len(r.Answer), func(i, j int) { r.Answer[i], r.Answer[j] = r.Answer[j], r.Answer[i] })
	if found.alias != "" && len(r.Answer) > 0 {
		alias := &dns.CNAME{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: ttl}, Target: name}
		r.Answer = append([]dns.RR{alias}, r.Answer...)
	}
	return r
}

// reverse answers for an address that the mesh has a name for, else nil.
func (s *Server) reverse(m *dns.Msg, q dns.Question) *dns.Msg {
	a, ok := reverseAddr(canonical(q.Name))
	if !ok {
		return nil
	}
	name, ok := s.resolver.table.view.Load().reverse[a]
	if !ok {
		return nil
	}
	r := s.reply(m)
	r.Answer = []dns.RR{&dns.PTR{
		Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: ttl}, Ptr: dns.Fqdn(name),
	}}
	return r
}

// reverseAddr reads "7.0.96.10.in-addr.arpa".
func reverseAddr(name string) (netip.Addr, bool) {
	rest, ok := strings.CutSuffix(name, ".in-addr.arpa")
	parts := strings.Split(rest, ".")
	if !ok || len(parts) != 4 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	return a, err == nil
}

func (s *Server) reply(m *dns.Msg) *dns.Msg {
	r := new(dns.Msg).SetReply(m)
	r.Authoritative, r.RecursionAvailable = true, true
	if opt := m.IsEdns0(); opt != nil {
		r.SetEdns0(max(opt.UDPSize(), dns.MinMsgSize), false)
	}
	return r
}

// soa makes negative answers short-lived: a service may be applied at any time.
func (s *Server) soa() dns.RR {
	zone := dns.Fqdn(s.resolver.domain)
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: zone, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 1},
		Ns:  "ns." + zone, Mbox: "hostmaster." + zone, Serial: 1, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: 1,
	}
}
