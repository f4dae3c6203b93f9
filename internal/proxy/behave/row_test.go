package behave

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// row is a scenario between two protocols, "12" is HTTP/1.1 at the client and HTTP/2
// at the server.
type row struct {
	scenario
	combo  string
	id     string
	origin origin
}

// endpoint gives the row's server.
func (r *row) endpoint(t testing.TB) netip.AddrPort {
	switch r.server {
	case "closed":
		_, at := bound(t) // refuses, and nobody else gets the port
		return at
	case "full":
		return fullBacklog(t)
	}
	startOrigin(t, &r.origin, r.combo[1], r.server)
	return netip.MustParseAddrPort(r.origin.l.Addr().String())
}

func (r *row) cluster(t testing.TB) m {
	speak := "http_protocol_options"
	if r.combo[1] == '2' {
		speak = "http2_protocol_options"
	}
	return merge(m{
		"@type": typePrefix + "envoy.config.cluster.v3.Cluster", "name": r.id, "type": "STATIC", "connect_timeout": "0.300s",
		"load_assignment":                  m{"cluster_name": r.id, "endpoints": []m{{"lb_endpoints": []m{{"endpoint": m{"address": address(r.endpoint(t))}}}}}},
		"typed_extension_protocol_options": protocol(speak),
	}, r.scenario.cluster)
}

// bound binds a socket that does not listen.
func bound(t testing.TB) (fd int, at netip.AddrPort) {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(name.(*syscall.SockaddrInet4).Port))
}

// fullBacklog listens, and takes nothing any more.
func fullBacklog(t testing.TB) netip.AddrPort {
	t.Helper()
	fd, at := bound(t)
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for range 3 { // the queue holds one more than it is told
		if c, err := net.DialTimeout("tcp", at.String(), 30*time.Millisecond); err == nil {
			t.Cleanup(func() { c.Close() })
		}
	}
	return at
}

// outcome is what a row observed.
type outcome struct {
	client  string // what the client saw
	reason  string // our code, of local answers
	flags   string // of the access log
	details string
	down    string // "kept" or "closed": the client's connection
	up      string // "kept" or "new": the server's
	seen    int    // how often the server saw the request
}

func (o outcome) String() string {
	return fmt.Sprintf("%s | %s %s | client's connection %s, server's %s | seen %d", o.client, o.flags, o.details, o.down, o.up, o.seen)
}

// line is the outcome as the table has it.
func (o outcome) line(who string) string {
	if who == "lateen" && o.reason != "" {
		return o.String() + " | " + o.reason
	}
	return o.String()
}

func (r *row) title() string { return r.name + " " + r.combo }

// run plays a row through a proxy.
func (r *row) run(s *subject) (outcome, error) {
	to := s.normal
	if r.short {
		to = s.short
	}
	c, err := dial(r.combo[0], to)
	if err != nil {
		return outcome{}, err
	}
	defer c.close()
	got := c.play(r.client, "/"+r.id+"/main", r.post, r.arrived)
	out := outcome{client: got.answer, reason: got.reason, down: "closed", up: "-"}
	if got.more != "" {
		out.client += " " + got.more
	}
	out.flags, out.details = s.logged(c.local(), "/"+r.id+"/main")
	time.Sleep(settleTime)
	if got.again && c.follow("/"+r.id+"/after") {
		out.down = "kept"
	} else if fresh, err := dial('1', s.normal); err != nil {
		return out, err
	} else {
		fresh.follow("/" + r.id + "/after")
		fresh.close()
	}
	o := &r.origin
	o.mu.Lock()
	defer o.mu.Unlock()
	out.seen = len(o.main)
	if out.seen > 0 && len(o.after) > 0 {
		out.up = "new"
		if slices.Contains(o.main, o.after[len(o.after)-1]) {
			out.up = "kept"
		}
	}
	return out, nil
}

// settleTime is what a connection's end gets to reach the proxy, so that the request
// that follows does not race with it.
const settleTime = 50 * time.Millisecond

// arrived waits until the main request has reached the server.
func (r *row) arrived() {
	for range 200 {
		r.origin.mu.Lock()
		n := len(r.origin.main)
		r.origin.mu.Unlock()
		if n > 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// logged finds the line of the main request of a client's connection. Where a
// request never had a head, there is one without a path, or none.
func (s *subject) logged(local, path string) (flags, details string) {
	for deadline := time.Now().Add(1200 * time.Millisecond); ; time.Sleep(15 * time.Millisecond) {
		text, err := os.ReadFile(s.log)
		if err != nil && !os.IsNotExist(err) {
			return "?", err.Error()
		}
		for line := range strings.Lines(string(text)) {
			line, whole := strings.CutSuffix(line, "\n")
			f := strings.SplitN(line, "|", 5)
			if whole && len(f) == 5 && f[0] == local && (f[1] == path || f[1] == "-") { // ports are used again
				return f[3], strings.ReplaceAll(f[4], " ", "_")
			}
		}
		if time.Now().After(deadline) {
			return "no", "line"
		}
	}
}
