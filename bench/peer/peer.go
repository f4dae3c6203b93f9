// Package peer starts the proxies that are compared, each configured to do the
// same: route by host and path, allow by method, path and caller, count, and where
// asked for write an access log; and in the two-sided shape to carry the requests
// over mTLS from a proxy at the client to one at the server.
package peer

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/bench/mesh"
	"github.com/lateen-mesh/lateen/bench/proc"
)

// Shape is how many proxies there are between client and server.
type Shape string

const (
	Hop    Shape = "hop"    // one, plain text on both sides
	Secure Shape = "secure" // one, mTLS from the client
	Mesh   Shape = "mesh"   // two, mTLS between them
)

// The service accounts of the two ends.
const (
	ClientAccount = "productpage"
	ServerAccount = "reviews"
)

// Host is what requests are for.
const Host = "reviews.default.svc.cluster.local"

// Plan says what a proxy is to do.
type Plan struct {
	Shape       Shape
	Protocol    mesh.Protocol
	Log, RBAC   bool
	Cores       string // of the proxies
	Concurrency int
	Origin      netip.AddrPort
	Clear       bool // a Secure plan that listens in plain text too
}

// Site is what all proxies need: programs, the control plane, a directory.
type Site struct {
	Dir       string
	Self      string            // this program
	Programs  map[string]string // by kind
	Authority *mesh.Authority
	Control   *mesh.Server
	n         int
}

// Running is a proxy, or a pair of them, at work.
type Running struct {
	Kind     string
	Plan     Plan
	Entry    netip.AddrPort // plain text
	Secure   netip.AddrPort // mTLS, in shape Secure
	Procs    []*proc.Process
	Admin    string   // of the first process: base URL; "" for none
	LogFiles []string // access logs
}

// Stop ends the processes.
func (r *Running) Stop() {
	for _, p := range r.Procs {
		p.Stop()
	}
}

// CPU is the processor time of all processes.
func (r *Running) CPU() (time.Duration, error) {
	var sum time.Duration
	for _, p := range r.Procs {
		d, err := p.CPU()
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// Memory is what all processes hold.
func (r *Running) Memory() (proc.Memory, error) {
	var sum proc.Memory
	for _, p := range r.Procs {
		m, err := p.Memory()
		if err != nil {
			return sum, err
		}
		sum.RSS += m.RSS
		sum.Anon += m.Anon
	}
	return sum, nil
}

// Err tells of a process that has ended.
func (r *Running) Err() error {
	for _, p := range r.Procs {
		if err := p.Err(); err != nil {
			return err
		}
	}
	return nil
}

// The kinds of proxy, in the order of the tables.
const (
	Lateen  = "lateen"
	Envoy   = "envoy"
	HAProxy = "haproxy"
	Nginx   = "nginx"
	Go      = "go-reverseproxy"
	Direct  = "direct"
)

// Kinds are all of them.
var Kinds = []string{Lateen, Envoy, HAProxy, Nginx, Go, Direct}

// side is one process to start.
type side struct {
	plan     Plan
	side     mesh.Side
	listen   netip.AddrPort // zero: none
	secure   netip.AddrPort
	upstream netip.AddrPort
	dir      string
}

// tls says whether the side's upstream speaks TLS.
func (s side) tls() bool { return s.side == mesh.Outbound }

// starters start one process of a kind.
var starters = map[string]func(*Site, side) (*proc.Process, string, error){
	Lateen: startLateen, Envoy: startEnvoy, HAProxy: startHAProxy, Nginx: startNginx, Go: startGo,
}

// Start starts a kind of proxy for a plan.
func (s *Site) Start(kind string, p Plan) (*Running, error) {
	r := &Running{Kind: kind, Plan: p}
	if kind == Direct {
		r.Entry = p.Origin
		return r, nil
	}
	server := side{plan: p, side: mesh.Inbound, upstream: p.Origin}
	var err error
	if p.Shape != Hop {
		if server.secure, err = freePort(); err != nil {
			return nil, err
		}
		r.Secure = server.secure
	}
	if p.Shape == Hop || p.Clear {
		if server.listen, err = freePort(); err != nil {
			return nil, err
		}
		r.Entry = server.listen
	}
	sides := []side{server}
	if p.Shape == Mesh {
		client := side{plan: p, side: mesh.Outbound, upstream: server.secure}
		if client.listen, err = freePort(); err != nil {
			return nil, err
		}
		r.Entry = client.listen
		sides = append(sides, client)
	}
	for _, one := range sides {
		s.n++
		one.dir = filepath.Join(s.Dir, fmt.Sprintf("%03d-%s-%s", s.n, kind, one.side))
		if err := os.Mkdir(one.dir, 0o700); err != nil {
			r.Stop()
			return nil, err
		}
		p, admin, err := starters[kind](s, one)
		if err != nil {
			r.Stop()
			return nil, fmt.Errorf("%s: %w", kind, err)
		}
		r.Procs = append(r.Procs, p)
		r.LogFiles = append(r.LogFiles, one.logPath())
		if r.Admin == "" {
			r.Admin = admin
		}
	}
	return r, nil
}

func (s side) logPath() string { return filepath.Join(s.dir, "access.log") }

// ready waits until a process listens.
func (s side) ready(p *proc.Process) error {
	addr := s.listen
	if !addr.IsValid() {
		addr = s.secure
	}
	return p.WaitFor(20*time.Second, func() error {
		c, err := net.DialTimeout("tcp", addr.String(), time.Second)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// write puts a file into the side's directory.
func (s side) write(name, text string) (string, error) {
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, []byte(text), 0o600)
}

// account is the service account of a side.
func (s side) account() string {
	if s.side == mesh.Outbound {
		return ClientAccount
	}
	return ServerAccount
}

// credentials are the files of a side's certificate, key and roots; bundle is
// certificate and key together.
type credentials struct{ cert, key, roots, bundle string }

func (s *Site) credentials(one side) (c credentials, err error) {
	pair, err := s.Authority.Issue(one.account())
	if err != nil {
		return c, err
	}
	for _, f := range []struct {
		to   *string
		name string
		text string
	}{
		{&c.cert, "cert.pem", string(pair.Cert)}, {&c.key, "key.pem", string(pair.Key)}, {&c.roots, "roots.pem", string(s.Authority.RootPEM)},
		{&c.bundle, "bundle.pem", string(pair.Cert) + string(pair.Key)},
	} {
		if *f.to, err = one.write(f.name, f.text); err != nil {
			return c, err
		}
	}
	return c, nil
}

// freePort finds a port on loopback that nobody listens on.
func freePort() (netip.AddrPort, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr := netip.MustParseAddrPort(l.Addr().String())
	return addr, l.Close()
}

// FreePorts finds several.
func FreePorts(n int) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	for range n {
		a, err := freePort()
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// Find looks for a program; the reason tells why a kind must be left out.
func Find(name string) (path string, err error) {
	if strings.Contains(name, "/") {
		_, err := os.Stat(name)
		return name, err
	}
	for _, dir := range []string{"", "/usr/sbin/", "/usr/local/sbin/"} {
		if path, err = exec.LookPath(dir + name); err == nil {
			return path, nil
		}
	}
	return "", err
}
