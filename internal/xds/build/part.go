package build

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/verdict"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
)

// Cluster builds one cluster. The result equals the one in Resources' set of a proxy
// with the same facts: frame holds those, and none of its lists.
func Cluster(frame *ir.Proxy, c *ir.Cluster) (Resource, error) {
	b := &builder{p: frame}
	return resource(ClusterType, c.Key.String(), b.cluster(c), c.Origins)
}

// Listener builds one listener of a sidecar that its workload calls. The result
// equals the one in Resources' set.
func Listener(frame *ir.Proxy, l *ir.Listener) (Resource, error) {
	b := &builder{p: frame}
	m := b.outboundListener(l)
	r, err := resource(ListenerType, m.Name, m, l.Origins)
	if err == nil {
		err = b.err
	}
	return r, err
}

// Table builds one route table. The result equals the one in Resources' set.
func Table(t *ir.Table) (Resource, error) {
	return resource(RouteType, t.Name, routeTable(t), tableOrigins(t))
}

// VirtualHost builds one virtual host as a field of a route table: JoinedTable takes
// it. What repeats in a message can be put together of pieces (protobuf's wire
// format), so that a host in many tables is made once.
func VirtualHost(h *ir.VirtualHost) ([]byte, error) {
	m := virtualHost(h)
	size := proto.Size(m)
	out := protowire.AppendTag(make([]byte, 0, size+8), virtualHostsField, protowire.BytesType)
	out = protowire.AppendVarint(out, uint64(size))
	return proto.MarshalOptions{Deterministic: true}.MarshalAppend(out, m)
}

// virtualHostsField is the number of RouteConfiguration.virtual_hosts.
const virtualHostsField = 2

// JoinedTable makes a route table of its virtual hosts. The result equals Table's.
func JoinedTable(name string, hosts [][]byte, origins []verdict.Origin) (Resource, error) {
	// Fields stand in the order of their numbers: the name is the only one before.
	rest := routeTable(&ir.Table{Name: name})
	rest.Name = ""
	head, err := marshal(&routev3.RouteConfiguration{Name: name})
	if err != nil {
		return Resource{}, err
	}
	tail, err := marshal(rest)
	if err != nil {
		return Resource{}, err
	}
	size := len(head) + len(tail)
	for _, h := range hosts {
		size += len(h)
	}
	body := append(make([]byte, 0, size), head...)
	for _, h := range hosts {
		body = append(body, h...)
	}
	body = append(body, tail...)
	return sealed(RouteType, name, body, origins), nil
}
