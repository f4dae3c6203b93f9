package push

import (
	"bytes"
	"maps"
	"net/netip"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/wire"
	"github.com/lateen-mesh/lateen/internal/xds/server"
)

// nameTables makes the proxies' name tables of a snapshot: one for each namespace
// that a variant is in, since exportTo hides names.
type nameTables struct {
	snap  *mesh.Snapshot
	byNS  map[string]map[string]*server.Resource
	known map[string]*server.Resource // by content, over builds: what did not change stays the same pointer
}

// of gives the resources of type wire.NameTableType for a namespace.
func (t *nameTables) of(namespace string) map[string]*server.Resource {
	if list, ok := t.byNS[namespace]; ok {
		return list
	}
	body := wire.MarshalNameTable(nameTable(t.snap, namespace))
	r := t.known[namespace]
	if r == nil || !bytes.Equal(r.Body, body) {
		r = &server.Resource{Name: wire.NameTableResource, Version: strconv.FormatUint(xxhash.Sum64(body), 16), Body: body}
		t.known[namespace] = r
	}
	list := map[string]*server.Resource{r.Name: r}
	t.byNS[namespace] = list
	return list
}

// start begins a build.
func (t *nameTables) start(snap *mesh.Snapshot) {
	if t.known == nil {
		t.known = map[string]*server.Resource{}
	}
	maps.DeleteFunc(t.known, func(ns string, _ *server.Resource) bool { return t.byNS[ns] == nil })
	t.snap, t.byNS = snap, map[string]map[string]*server.Resource{}
}

// nameTable holds the hosts that a namespace sees and that the cluster's own DNS
// does not know, or knows by another address.
func nameTable(snap *mesh.Snapshot, namespace string) wire.NameTable {
	table := wire.NameTable{}
	for _, h := range snap.Hosts(namespace) {
		if inClusterDNS(h) || h.Service.Entry != nil && !h.Addr.IsValid() {
			continue
		}
		n := wire.Name{Addrs: addresses(h), Registry: wire.External}
		if h.Ref().Kind == api.KindService {
			n.Registry, n.ShortName, n.Namespace = wire.Kubernetes, h.Service.Name, h.Service.Namespace
		}
		table[h.Name] = n
	}
	return table
}

// inClusterDNS reports whether the cluster's DNS answers a host's name as the mesh
// would: a Service with its own address, or a headless one.
func inClusterDNS(h *mesh.Host) bool {
	if h.Ref().Kind != api.KindService {
		return false
	}
	if h.Service.Headless() || h.Service.Alias != "" {
		return true
	}
	asked, err := netip.ParseAddr(h.Service.ClusterIP)
	return err == nil && asked.Unmap() == h.Addr
}
