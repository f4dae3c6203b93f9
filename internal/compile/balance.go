package compile

import (
	"github.com/lateen-mesh/lateen/internal/ir"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// balance says how a cluster picks among its endpoints.
func balance(out *ir.Cluster, b *mesh.Balance) {
	out.Balance = ir.LeastRequest
	if b == nil {
		return
	}
	switch b.Algorithm {
	case mesh.RoundRobin:
		out.Balance = ir.RoundRobin
	case mesh.Random:
		out.Balance = ir.Random
	case mesh.RingHash:
		out.Balance, out.RingSize = ir.RingHash, b.RingSize
	case mesh.Maglev:
		out.Balance, out.TableSize = ir.Maglev, b.TableSize
	case mesh.Passthrough:
		out.Discovery = ir.ByAddress
	}
	if w := b.Warmup; w != nil {
		out.Warmup = &ir.Warmup{Window: w.Duration, MinPercent: w.MinPercent, Aggression: w.Aggression}
	}
}

// hashKeys are the keys of the policies of all destinations, in order, as Istio puts
// them into one route.
func (c *compiler) hashKeys(clusters []ir.WeightedCluster) []ir.HashKey {
	var out []ir.HashKey
	for _, w := range clusters {
		if k := c.hashKey(w.Cluster); k != nil {
			out = append(out, *k)
		}
	}
	return out
}

// hashKey is what decides the endpoint of requests to a cluster; nil where nothing of
// the request does.
func (c *compiler) hashKey(key ir.Key) *ir.HashKey {
	h, ok := c.snap.Host(key.Host)
	if !ok || key.Direction != ir.OutboundTo {
		return nil
	}
	b := c.snap.Traffic(c.snap.CallPolicy(c.client, h), key.Subset, key.Port).Balance
	if b == nil || b.Hash == nil {
		return nil
	}
	k := &ir.HashKey{Header: b.Hash.Header, Query: b.Hash.Query, SourceIP: b.Hash.SourceIP}
	if in := b.Hash.Cookie; in != nil {
		k.Cookie = &ir.HashCookie{Name: in.Name, Path: in.Path, TTL: in.TTL}
		for _, a := range in.Attributes {
			k.Cookie.Attributes = append(k.Cookie.Attributes, ir.CookieAttribute(a))
		}
	}
	return k
}

// shapeRelay takes what the policy of the first destination says of connections that
// are relayed: a chain has one idle time-out and one hash, as in Istio.
func (c *compiler) shapeRelay(l *ir.Chain) {
	if len(l.To) == 0 {
		return
	}
	first := l.To[0].Cluster
	if k := c.hashKey(first); k != nil {
		l.HashSource = k.SourceIP
	}
	if h, ok := c.snap.Host(first.Host); ok && first.Direction == ir.OutboundTo {
		if p := c.snap.Traffic(c.snap.CallPolicy(c.client, h), first.Subset, first.Port).Pool; p != nil {
			l.Idle = p.TCPIdle
		}
	}
}

func retryBudget(in *mesh.RetryBudget) *ir.RetryBudget {
	if in == nil {
		return nil
	}
	return &ir.RetryBudget{Percent: in.Percent, MinConcurrent: in.MinConcurrent, Interval: in.Interval}
}
