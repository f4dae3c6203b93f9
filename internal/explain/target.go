package explain

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Target is the URL of a request to explain.
type Target struct {
	Authority string // with the port, if the URL has one
	Path      string // with query
	Host      string // without port
	Port      uint16 // the scheme's default where the URL has none
}

// ParseTarget reads a URL; "http://" may be left out. Its errors are for users.
func ParseTarget(target string) (Target, error) {
	if !strings.Contains(target, "://") {
		target = "http://" + target
	}
	u, err := url.Parse(target)
	if err != nil {
		return Target{}, fmt.Errorf("%q is no URL: %w", target, errors.Unwrap(err))
	}
	t := Target{Authority: u.Host, Path: u.RequestURI(), Host: u.Hostname(), Port: 80}
	switch {
	case u.Port() != "":
		n, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil {
			return t, fmt.Errorf("%q is no port", u.Port())
		}
		t.Port = uint16(n)
	case u.Scheme == "https":
		t.Port = 443
	case u.Scheme != "http":
		return t, fmt.Errorf("the scheme %q is neither http nor https", u.Scheme)
	}
	return t, nil
}

// Resolve finds the address that a client of a namespace connects to: what the
// mesh's DNS answers for the target's host. hosts are its names.
func (t *Target) Resolve(hosts map[string][]netip.Addr, namespace string) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(t.Host); err == nil {
		return netip.AddrPortFrom(ip, t.Port), nil
	}
	for _, full := range []string{t.Host, t.Host + "." + namespace + ".svc.cluster.local", t.Host + ".svc.cluster.local", t.Host + ".cluster.local"} {
		if a := hosts[strings.TrimSuffix(full, ".")]; len(a) > 0 {
			return netip.AddrPortFrom(a[0], t.Port), nil
		}
	}
	known := make([]string, 0, len(hosts))
	for h := range hosts {
		known = append(known, h)
	}
	slices.Sort(known)
	return netip.AddrPort{}, fmt.Errorf("the mesh does not know the host %q; say which IP:PORT is meant for a host outside (it knows %s)", t.Host, strings.Join(known[:min(len(known), 8)], ", "))
}

// MeshALPNs are what callers in the mesh offer for requests.
func MeshALPNs() []string { return []string{"istio-http/1.1", "istio"} }
