package registry

import (
	"hash/fnv"
	"net/netip"
	"slices"
)

// Allocate gives every service with an address of its own a stable virtual
// address in cidr, by key ("namespace/name"): the one that spec.clusterIP asks
// for, else the one it had (prior), else a free one picked by the hash of its
// key, so that the same services get the same addresses whatever their order.
// Headless services get none; the first and last address of cidr are not given
// away. A service is missing from the result when cidr has no address left.
//
// An address that two services ask for goes to the one whose key comes first.
func Allocate(prior map[string]netip.Addr, cidr netip.Prefix, services []Service) map[string]netip.Addr {
	cidr = cidr.Masked()
	sorted := make([]*Service, 0, len(services))
	for i := range services {
		if s := &services[i]; !s.Headless() && s.Entry == nil && s.Alias == "" {
			sorted = append(sorted, &services[i])
		}
	}
	slices.SortFunc(sorted, func(a, b *Service) int {
		switch ka, kb := a.Key(), b.Key(); {
		case ka < kb:
			return -1
		case ka > kb:
			return 1
		}
		return 0
	})
	out := make(map[string]netip.Addr, len(sorted))
	asked := map[netip.Addr]bool{}
	var keys []string
	for _, s := range sorted {
		keys = append(keys, s.Key())
		if a, err := netip.ParseAddr(s.ClusterIP); err == nil && !asked[a.Unmap()] {
			out[s.Key()], asked[a.Unmap()] = a.Unmap(), true
		}
	}
	return assign(prior, cidr, keys, out)
}

// assign completes out for keys, which are sorted: by what they had, then by what is
// free.
func assign(prior map[string]netip.Addr, cidr netip.Prefix, keys []string, out map[string]netip.Addr) map[string]netip.Addr {
	taken := make(map[netip.Addr]bool, len(keys))
	for _, a := range out {
		taken[a] = true
	}
	take := func(key string, a netip.Addr) {
		if _, done := out[key]; !done && a.IsValid() && !taken[a] {
			out[key], taken[a] = a, true
		}
	}
	for _, k := range keys {
		if a := prior[k]; usable(cidr, a) {
			take(k, a)
		}
	}
	for _, k := range keys {
		if _, done := out[k]; !done {
			take(k, free(cidr, k, taken))
		}
	}
	return out
}

// usable reports whether a may be given away: inside cidr, not its first or last.
func usable(cidr netip.Prefix, a netip.Addr) bool {
	return a.IsValid() && cidr.Contains(a) && a != cidr.Addr() && cidr.Contains(a.Next())
}

// free finds a free address, starting at the hash of key and going round once.
// At most 1<<20 addresses are tried, more than a mesh has services.
func free(cidr netip.Prefix, key string, taken map[netip.Addr]bool) netip.Addr {
	bits := min(cidr.Addr().BitLen()-cidr.Bits(), 20)
	size := uint32(1) << bits
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails, by its documentation
	start := h.Sum32() % size
	for i := range size {
		a := offset(cidr.Addr(), (start+i)%size)
		if usable(cidr, a) && !taken[a] {
			return a
		}
	}
	return netip.Addr{}
}

// offset adds n to the low 32 bits of a network's address.
func offset(base netip.Addr, n uint32) netip.Addr {
	b := base.AsSlice()
	for i := len(b) - 1; n > 0 && i >= 0; i-- {
		n += uint32(b[i])
		b[i] = byte(n)
		n >>= 8
	}
	a, _ := netip.AddrFromSlice(b) // b has the length of a valid address
	return a
}
