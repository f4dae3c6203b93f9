package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func addrs(list ...string) (out []netip.Addr) {
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// outside is an upstream that knows one name.
type outside struct{}

func (outside) Exchange(_ context.Context, m *dns.Msg, tcp bool) (*dns.Msg, error) {
	r := new(dns.Msg).SetReply(m)
	switch m.Question[0].Name {
	case "example.com.":
		rr, err := dns.NewRR("example.com. 60 IN A 192.0.2.1")
		if err != nil {
			return nil, err
		}
		r.Answer = append(r.Answer, rr)
	case "gone.com.":
		return nil, errors.New("unreachable")
	default:
		r.Rcode = dns.RcodeNameError
	}
	return r, nil
}

func serve(t *testing.T, up Upstream) (udp, tcp string) {
	t.Helper()
	table := NewTable()
	var many []netip.Addr
	for i := range 200 {
		many = append(many, netip.AddrFrom4([4]byte{10, 244, 1, byte(i)}))
	}
	table.Set(map[string][]netip.Addr{
		"reviews.default.svc.cluster.local":  addrs("10.96.0.7"),
		"reviews.other.svc.cluster.local":    addrs("10.96.0.8"),
		"headless.default.svc.cluster.local": addrs("10.244.0.5", "10.244.0.6"),
		"empty.default.svc.cluster.local":    nil,
		"many.default.svc.cluster.local":     many,
		"api.partner.test":                   addrs("10.96.0.9"),
		"*.wild.test":                        addrs("10.96.0.10"),
	})
	s := New(Options{Table: table, Namespace: "default", Upstream: up})
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, pc, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return pc.LocalAddr().String(), l.Addr().String()
}

func ask(t *testing.T, network, server, name string, qtype uint16) *dns.Msg {
	t.Helper()
	c := &dns.Client{Net: network, Timeout: 3 * time.Second}
	r, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, qtype), server)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return r
}

func answers(r *dns.Msg) string {
	var list []string
	for _, rr := range r.Answer {
		switch v := rr.(type) {
		case *dns.A:
			list = append(list, v.A.String())
		case *dns.PTR:
			list = append(list, v.Ptr)
		}
	}
	slices.Sort(list)
	return strings.TrimSpace(dns.RcodeToString[r.Rcode] + " " + strings.Join(list, ","))
}

func TestAnswers(t *testing.T) {
	udp, tcp := serve(t, outside{})
	for _, c := range []struct {
		name  string
		qtype uint16
		want  string
	}{
		{"reviews.", dns.TypeA, "NOERROR 10.96.0.7"},
		{"Reviews.Default.", dns.TypeA, "NOERROR 10.96.0.7"},
		{"reviews.default.svc.", dns.TypeA, "NOERROR 10.96.0.7"},
		{"reviews.default.svc.cluster.local.", dns.TypeA, "NOERROR 10.96.0.7"},
		{"reviews.other.", dns.TypeA, "NOERROR 10.96.0.8"},
		{"headless.", dns.TypeA, "NOERROR 10.244.0.5,10.244.0.6"},
		{"reviews.", dns.TypeAAAA, "NOERROR"},
		{"reviews.", dns.TypeMX, "NOERROR"},
		{"empty.", dns.TypeA, "NOERROR"},
		{"ratings.default.svc.cluster.local.", dns.TypeA, "NXDOMAIN"},
		{"example.com.default.svc.cluster.local.", dns.TypeA, "NXDOMAIN"},
		{"api.partner.test.", dns.TypeA, "NOERROR 10.96.0.9"},
		{"deep.one.wild.test.", dns.TypeA, "NOERROR 10.96.0.10"},
		{"example.com.", dns.TypeA, "NOERROR 192.0.2.1"},
		{"nowhere.com.", dns.TypeA, "NXDOMAIN"},
		{"gone.com.", dns.TypeA, "SERVFAIL"},
		{"7.0.96.10.in-addr.arpa.", dns.TypePTR, "NOERROR reviews.default.svc.cluster.local."},
		{"1.2.0.192.in-addr.arpa.", dns.TypePTR, "NXDOMAIN"},
	} {
		for network, server := range map[string]string{"udp": udp, "tcp": tcp} {
			r := ask(t, network, server, c.name, c.qtype)
			if got := answers(r); got != c.want {
				t.Errorf("%s %s over %s: got %q, want %q", c.name, dns.TypeToString[c.qtype], network, got, c.want)
			}
			if len(r.Answer) == 0 && r.Authoritative && len(r.Ns) == 0 {
				t.Errorf("%s %s: a negative answer without an SOA", c.name, dns.TypeToString[c.qtype])
			}
		}
	}
}

// TestTruncation: what does not fit UDP is asked again over TCP.
func TestTruncation(t *testing.T) {
	udp, tcp := serve(t, outside{})
	if r := ask(t, "udp", udp, "many.", dns.TypeA); !r.Truncated || len(r.Answer) >= 200 {
		t.Errorf("udp: %d answers, truncated %v", len(r.Answer), r.Truncated)
	}
	if r := ask(t, "tcp", tcp, "many.", dns.TypeA); r.Truncated || len(r.Answer) != 200 {
		t.Errorf("tcp: %d answers, truncated %v", len(r.Answer), r.Truncated)
	}
}

// TestHost: the host's resolvers are asked in turn, and their file is read.
func TestHost(t *testing.T) {
	udp, _ := serve(t, outside{})
	host, port, err := net.SplitHostPort(udp)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "resolv.conf")
	h := NewHost(file)
	q := new(dns.Msg).SetQuestion("example.com.", dns.TypeA)
	if _, err := h.Exchange(t.Context(), q, false); err == nil {
		t.Error("no file is no error")
	}
	if err := os.WriteFile(file, []byte("search x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Exchange(t.Context(), q, false); err == nil || !strings.Contains(err.Error(), "no resolver") {
		t.Errorf("a file without resolvers: %v", err)
	}
	// resolv.conf has no ports: put the test's own server there.
	h.servers, h.timeout, h.read = []string{"127.0.0.1:1", net.JoinHostPort(host, port)}, time.Second, time.Now().Add(time.Hour)
	r, err := h.Exchange(t.Context(), q, false)
	if err != nil || answers(r) != "NOERROR 192.0.2.1" {
		t.Errorf("got %v %v", r, err)
	}
}

func TestResolvConf(t *testing.T) {
	want := "nameserver 10.244.0.1\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n"
	if got := ResolvConf("10.244.0.1", "shop", "cluster.local"); got != want {
		t.Errorf("got %q", got)
	}
}

func BenchmarkAnswer(b *testing.B) {
	table := NewTable()
	table.Set(map[string][]netip.Addr{"reviews.default.svc.cluster.local": addrs("10.96.0.7")})
	s := New(Options{Table: table, Namespace: "default", Upstream: outside{}})
	m := new(dns.Msg).SetQuestion("reviews.default.svc.cluster.local.", dns.TypeA)
	b.ReportAllocs()
	for b.Loop() {
		s.answer(b.Context(), m, false)
	}
}
