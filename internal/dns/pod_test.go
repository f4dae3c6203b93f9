package dns

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// cluster is the cluster's DNS: it counts what it is asked.
type cluster struct {
	asked atomic.Int32
	block chan struct{} // nil: it answers at once
}

func (c *cluster) Exchange(ctx context.Context, m *dns.Msg, _ bool) (*dns.Msg, error) {
	c.asked.Add(1)
	if c.block != nil {
		<-c.block
	}
	r := new(dns.Msg).SetReply(m)
	switch q := m.Question[0]; {
	case q.Name == "plain.default.svc.cluster.local." && q.Qtype == dns.TypeA:
		r.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}, A: net.IPv4(10, 96, 0, 1)}}
	case q.Name == "db.example.com." && q.Qtype == dns.TypeMX:
		r.Answer = []dns.RR{&dns.MX{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeMX, Class: dns.ClassINET, Ttl: 5}, Mx: "mail.example.com."}}
	default:
		r.Rcode = dns.RcodeNameError
	}
	return r, nil
}

func podServer(up Upstream, table *Table, most int) *Server {
	return New(Options{Table: table, Namespace: "default", Partial: true, Upstream: up, MaxUpstream: most})
}

func podTable() *Table {
	t := NewTable()
	t.Set(map[string][]netip.Addr{
		"db.example.com": addrs("240.240.0.1"), "*.wild.example.com": addrs("240.240.0.2"), "six.example.com": addrs("2001:2::1"),
		"auto.shop.svc.cluster.local": addrs("240.240.0.3"), "short": addrs("240.240.0.4"), "empty.example.com": nil,
	})
	return t
}

// TestPartial: in a pod, the cluster's DNS knows what the table does not.
func TestPartial(t *testing.T) {
	up := &cluster{}
	s := podServer(up, podTable(), 0)
	for _, x := range []struct {
		name  string
		kind  uint16
		want  string // answers
		rcode int
		asked int32
	}{
		{"db.example.com.", dns.TypeA, "A 240.240.0.1", dns.RcodeSuccess, 0},
		{"DB.Example.Com.", dns.TypeA, "A 240.240.0.1", dns.RcodeSuccess, 0},
		{"db.example.com.", dns.TypeAAAA, "", dns.RcodeSuccess, 0},
		{"six.example.com.", dns.TypeAAAA, "AAAA 2001:2::1", dns.RcodeSuccess, 0},
		{"a.wild.example.com.", dns.TypeA, "A 240.240.0.2", dns.RcodeSuccess, 0},
		{"empty.example.com.", dns.TypeA, "", dns.RcodeSuccess, 0},
		{"db.example.com.", dns.TypeMX, "MX 0 mail.example.com.", dns.RcodeSuccess, 1},
		{"six.example.com.", dns.TypeTXT, "", dns.RcodeSuccess, 1}, // the world does not know it, the mesh does
		{"auto.shop.svc.cluster.local.", dns.TypeA, "A 240.240.0.3", dns.RcodeSuccess, 0},
		{"plain.default.svc.cluster.local.", dns.TypeA, "A 10.96.0.1", dns.RcodeSuccess, 1},
		{"none.default.svc.cluster.local.", dns.TypeA, "", dns.RcodeNameError, 1},
		{"db.example.com.default.svc.cluster.local.", dns.TypeA, "CNAME db.example.com.;A 240.240.0.1", dns.RcodeSuccess, 0},
		{"db.example.com.svc.cluster.local.", dns.TypeA, "", dns.RcodeNameError, 1},
		{"short.default.svc.cluster.local.", dns.TypeA, "", dns.RcodeNameError, 1}, // it may be a service
		{"1.0.240.240.in-addr.arpa.", dns.TypePTR, "PTR db.example.com.", dns.RcodeSuccess, 0},
		{"9.0.240.240.in-addr.arpa.", dns.TypePTR, "", dns.RcodeNameError, 1},
	} {
		t.Run(x.name+dns.TypeToString[x.kind], func(t *testing.T) {
			before := up.asked.Load()
			r := s.answer(t.Context(), new(dns.Msg).SetQuestion(x.name, x.kind), false)
			var got []string
			for _, rr := range r.Answer {
				got = append(got, dns.TypeToString[rr.Header().Rrtype]+" "+strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			if d := cmp.Diff(x.want, strings.Join(got, ";")); d != "" || r.Rcode != x.rcode {
				t.Errorf("%s%v", d, r)
			}
			if n := up.asked.Load() - before; n != x.asked {
				t.Errorf("the cluster's DNS was asked %d times, want %d", n, x.asked)
			}
		})
	}
}

// TestBeforeTable: without a table everything is passed on.
func TestBeforeTable(t *testing.T) {
	up := &cluster{}
	s := podServer(up, NewTable(), 0)
	for _, name := range []string{"db.example.com.", "plain.default.svc.cluster.local.", "short."} {
		s.answer(t.Context(), new(dns.Msg).SetQuestion(name, dns.TypeA), false)
	}
	if n := up.asked.Load(); n != 3 {
		t.Errorf("%d questions passed on, want 3", n)
	}
}

// TestBound: what waits for the upstream is bounded; names of the mesh are answered all
// the same.
func TestBound(t *testing.T) {
	up := &cluster{block: make(chan struct{})}
	s := podServer(up, podTable(), 2)
	done := make(chan *dns.Msg, 2)
	for range 2 {
		go func() { done <- s.answer(context.Background(), new(dns.Msg).SetQuestion("a.test.", dns.TypeA), false) }()
	}
	for up.asked.Load() < 2 {
		time.Sleep(time.Millisecond)
	}
	if r := s.answer(t.Context(), new(dns.Msg).SetQuestion("b.test.", dns.TypeA), false); r.Rcode != dns.RcodeServerFailure || s.Stats().Overflow.Load() != 1 {
		t.Errorf("%v, %d too many", r, s.Stats().Overflow.Load())
	}
	if r := s.answer(t.Context(), new(dns.Msg).SetQuestion("db.example.com.", dns.TypeA), false); len(r.Answer) != 1 {
		t.Error(r)
	}
	close(up.block)
	<-done
	<-done
	if r := s.answer(t.Context(), new(dns.Msg).SetQuestion("b.test.", dns.TypeA), false); r.Rcode != dns.RcodeNameError {
		t.Errorf("no room afterwards: %v", r)
	}
}

func TestSearch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver 10.96.0.10\nsearch shop.svc.mesh.test svc.mesh.test mesh.test corp.test\noptions ndots:5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	search, domain, err := Search(path)
	if err != nil || domain != "mesh.test" {
		t.Fatal(domain, err)
	}
	if d := cmp.Diff([]string{"shop.svc.mesh.test", "svc.mesh.test", "mesh.test", "corp.test"}, search); d != "" {
		t.Error(d)
	}
	if _, _, err := Search(path + "x"); err == nil {
		t.Error("a file that is not there passes")
	}
}

// TestListenLoopback: both families answer, and a taken port is an error that leaves
// nothing open.
func TestListenLoopback(t *testing.T) {
	taken, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(taken.LocalAddr().String())
	if s, err := ListenLoopback(port); err == nil {
		t.Errorf("a taken port: %v", s)
	}
	taken.Close()
	s, err := ListenLoopback(port)
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	for _, x := range s {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
	}
}
