package match

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// hostIndex finds virtual hosts by domain. It is config.RouteTable.Index.
type hostIndex struct {
	exact    map[string]*config.VirtualHost
	suffixes []wildcards // longest first
	prefixes []wildcards // longest first
	rest     *config.VirtualHost
}

// wildcards are the wildcard domains whose fixed part has one length.
type wildcards struct {
	size int
	by   map[string]*config.VirtualHost
}

func indexHosts(hosts []*config.VirtualHost) *hostIndex {
	x := &hostIndex{exact: map[string]*config.VirtualHost{}}
	for _, h := range hosts {
		for _, d := range h.Domains {
			switch {
			case d == "*":
				if x.rest == nil {
					x.rest = h
				}
			case strings.HasPrefix(d, "*"):
				x.suffixes = addWildcard(x.suffixes, d[1:], h)
			case strings.HasSuffix(d, "*"):
				x.prefixes = addWildcard(x.prefixes, d[:len(d)-1], h)
			default:
				if x.exact[d] == nil {
					x.exact[d] = h
				}
			}
		}
	}
	longest := func(a, b wildcards) int { return cmp.Compare(b.size, a.size) }
	slices.SortFunc(x.suffixes, longest)
	slices.SortFunc(x.prefixes, longest)
	return x
}

func addWildcard(list []wildcards, part string, h *config.VirtualHost) []wildcards {
	i := slices.IndexFunc(list, func(w wildcards) bool { return w.size == len(part) })
	if i < 0 {
		i = len(list)
		list = append(list, wildcards{size: len(part), by: map[string]*config.VirtualHost{}})
	}
	if list[i].by[part] == nil {
		list[i].by[part] = h
	}
	return list
}

// find looks host up, which is lower case. A wildcard stands for at least one
// byte.
func (x *hostIndex) find(host []byte) *config.VirtualHost {
	if h := x.exact[string(host)]; h != nil {
		return h
	}
	for i := range x.suffixes {
		if w := &x.suffixes[i]; w.size < len(host) {
			if h := w.by[string(host[len(host)-w.size:])]; h != nil {
				return h
			}
		}
	}
	for i := range x.prefixes {
		if w := &x.prefixes[i]; w.size < len(host) {
			if h := w.by[string(host[:w.size])]; h != nil {
				return h
			}
		}
	}
	return x.rest
}

// FindHost returns the virtual host for an authority (any case, with or without
// port): an exact domain, else the longest "*suffix", else the longest "prefix*",
// else "*". It returns nil if there is none.
func FindHost(t *config.RouteTable, authority []byte, rec Recorder) *config.VirtualHost {
	if t.IgnorePortInHost {
		authority = WithoutPort(authority)
	}
	if x, ok := t.Index.(*hostIndex); ok && rec == nil {
		var few [256]byte // stays on the stack: find keeps nothing of it
		return x.find(lower(few[:0], authority))
	}
	return scanHosts(t, lower(nil, authority), rec)
}

// NamesHost reports whether a table has a host as a domain of its own, not by a
// wildcard. host is lower case.
func NamesHost(t *config.RouteTable, host string) bool {
	if x, ok := t.Index.(*hostIndex); ok {
		return x.exact[host] != nil
	}
	for _, h := range t.Hosts {
		if slices.Contains(h.Domains, host) {
			return true
		}
	}
	return false
}

// WithoutPort cuts the port off an authority; an IPv6 address is in brackets.
func WithoutPort(authority []byte) []byte {
	colon := bytes.LastIndexByte(authority, ':')
	if colon < 0 || bytes.LastIndexByte(authority, ']') > colon {
		return authority
	}
	return authority[:colon]
}

// lower appends b in lower case, ASCII only.
func lower(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		dst = append(dst, c)
	}
	return dst
}

// hostRank orders the kinds of domains: a higher class, then a longer fixed part.
func hostRank(domain string, host []byte) int {
	const class = 1 << 20
	switch part := ""; {
	case domain == "*":
		return 0
	case strings.HasPrefix(domain, "*"):
		if part = domain[1:]; len(host) > len(part) && string(host[len(host)-len(part):]) == part {
			return 2*class + len(part)
		}
	case strings.HasSuffix(domain, "*"):
		if part = domain[:len(domain)-1]; len(host) > len(part) && string(host[:len(part)]) == part {
			return class + len(part)
		}
	case domain == string(host):
		return 3 * class
	}
	return none
}

// scanHosts is the definition that the index must agree with.
func scanHosts(t *config.RouteTable, host []byte, rec Recorder) *config.VirtualHost {
	var best *config.VirtualHost
	bestRank, bestDomain := none, ""
	for _, h := range t.Hosts {
		for _, d := range h.Domains {
			if r := hostRank(d, host); r > bestRank {
				best, bestRank, bestDomain = h, r, d
			}
		}
	}
	if rec == nil {
		return best
	}
	for _, h := range t.Hosts {
		rec.Candidate(Candidate{Node: h, Matched: h == best, Why: hostReason(h, host, h == best, bestDomain)})
	}
	return best
}

func hostReason(h *config.VirtualHost, host []byte, chosen bool, domain string) string {
	if chosen {
		return fmt.Sprintf("its domain %q is the most specific one for %q", domain, host)
	}
	for _, d := range h.Domains {
		if hostRank(d, host) != none {
			return fmt.Sprintf("its domain %q matches %q, but %q is more specific", d, host, domain)
		}
	}
	return fmt.Sprintf("none of its %d domains matches %q", len(h.Domains), host)
}
