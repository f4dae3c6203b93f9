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
	table   *Table
	search  []string // "default.svc.cluster.local", "svc.cluster.local", "cluster.local"
	domain  string
	partial bool // what is not in the table may be there all the same
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

// answer is what is known of a name. alias is the name that the addresses are of,
// where that is another one.
type answer struct {
	addrs   []netip.Addr
	verdict verdict
	alias   string
}

// find resolves a name in canonical form. Short forms are relative to the
// workload's namespace, also for programs that do not use the search path.
func (r resolver) find(name string) answer {
	if addrs, ok := r.table.lookup(name); ok {
		return answer{addrs: addrs, verdict: found}
	}
	if r.partial && len(r.search) > 0 {
		// Programs try "api.example.com.default.svc.cluster.local" before
		// "api.example.com" (ndots). That is answered here for names of the mesh: the
		// cluster's DNS would be asked five times in vain. Only the first suffix is:
		// before the others, programs have tried what might be theirs.
		if short, ok := strings.CutSuffix(name, "."+r.search[0]); ok && strings.Contains(short, ".") {
			if addrs, ok := r.table.lookup(short); ok {
				return answer{addrs: addrs, verdict: found, alias: short}
			}
		}
	}
	if name == r.domain || strings.HasSuffix(name, "."+r.domain) {
		if r.partial {
			return answer{}
		}
		return answer{verdict: missing}
	}
	for _, suffix := range r.search {
		if addrs, ok := r.table.lookup(name + "." + suffix); ok {
			return answer{addrs: addrs, verdict: found}
		}
	}
	return answer{}
}
