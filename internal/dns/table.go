package dns

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
)

// Table holds the names of the mesh. It is safe for concurrent use; a look-up
// takes no lock.
type Table struct{ view atomic.Pointer[view] }

// view is immutable.
type view struct {
	hosts   map[string][]netip.Addr // by name in lower case, without the last dot
	reverse map[netip.Addr]string
}

// NewTable makes an empty table.
func NewTable() *Table {
	t := &Table{}
	t.Set(nil)
	return t
}

// Set replaces all names: fully qualified ones, with their addresses. A name
// without addresses exists and has none.
func (t *Table) Set(hosts map[string][]netip.Addr) {
	v := &view{hosts: make(map[string][]netip.Addr, len(hosts)), reverse: map[netip.Addr]string{}}
	for name, addrs := range hosts {
		name = canonical(name)
		v.hosts[name] = slices.Clone(addrs)
		for _, a := range addrs {
			// Several names may share an address: the answer must not change by chance.
			if old, ok := v.reverse[a]; !ok || name < old {
				v.reverse[a] = name
			}
		}
	}
	t.view.Store(v)
}

// Len is the number of names.
func (t *Table) Len() int { return len(t.view.Load().hosts) }

// Lookup gives the addresses of a fully qualified name of the mesh.
func (t *Table) Lookup(name string) ([]netip.Addr, bool) { return t.lookup(canonical(name)) }

// lookup finds a name, or the wildcard that covers it.
func (t *Table) lookup(name string) ([]netip.Addr, bool) {
	hosts := t.view.Load().hosts
	if addrs, ok := hosts[name]; ok {
		return addrs, true
	}
	for rest := name; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			return nil, false
		}
		rest = rest[i+1:]
		if addrs, ok := hosts["*."+rest]; ok {
			return addrs, true
		}
	}
}

func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// resolver finds the names that one workload means.
type resolver struct {
	table  *Table
	search []string // "default.svc.cluster.local", "svc.cluster.local", "cluster.local"
	domain string
}

func newResolver(t *Table, namespace, domain string) resolver {
	return resolver{t, SearchPath(namespace, domain), domain}
}

// SearchPath gives the search path of a workload, as Kubernetes writes it into
// resolv.conf.
func SearchPath(namespace, domain string) []string {
	return []string{namespace + ".svc." + domain, "svc." + domain, domain}
}

// verdict is what the mesh knows of a name.
type verdict uint8

const (
	foreign verdict = iota // not the mesh's to say
	missing                // in the mesh's domain, and not there
	found
)

// find resolves a name in canonical form. Short forms are relative to the
// workload's namespace, also for programs that do not use the search path.
func (r resolver) find(name string) ([]netip.Addr, verdict) {
	if addrs, ok := r.table.lookup(name); ok {
		return addrs, found
	}
	if name == r.domain || strings.HasSuffix(name, "."+r.domain) {
		return nil, missing
	}
	for _, suffix := range r.search {
		if addrs, ok := r.table.lookup(name + "." + suffix); ok {
			return addrs, found
		}
	}
	return nil, foreign
}
