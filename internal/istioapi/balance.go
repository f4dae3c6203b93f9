package istioapi

import (
	"cmp"
	"strings"
	"time"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

func (r *reader) balance(at verdict.Origin, in *networking.LoadBalancerSettings) *mesh.Balance {
	if in == nil {
		return nil
	}
	out := &mesh.Balance{Origin: at, Algorithm: mesh.LeastRequest}
	switch in.GetSimple() {
	case networking.LoadBalancerSettings_ROUND_ROBIN:
		out.Algorithm = mesh.RoundRobin
	case networking.LoadBalancerSettings_RANDOM:
		out.Algorithm = mesh.Random
	case networking.LoadBalancerSettings_PASSTHROUGH:
		out.Algorithm = mesh.Passthrough
	}
	if h := in.GetConsistentHash(); h != nil {
		r.consistentHash(at.At("consistentHash"), h, out)
	}
	out.Warmup = r.warmup(at, in)
	if out.Warmup != nil && out.Algorithm != mesh.LeastRequest && out.Algorithm != mesh.RoundRobin {
		r.say(at, verdict.NotActedOn, "warmup goes with ROUND_ROBIN and LEAST_REQUEST only: new endpoints get their whole share at once")
		out.Warmup = nil
	}
	out.Locality = locality(at.At("localityLbSetting"), in.LocalityLbSetting)
	return out
}

// consistentHash reads the key and the algorithm. Without a usable key there is
// nothing to hash, and requests are spread at random over the ring, as Envoy does.
func (r *reader) consistentHash(at verdict.Origin, in *networking.LoadBalancerSettings_ConsistentHashLB, out *mesh.Balance) {
	out.Algorithm = mesh.RingHash
	switch a := in.HashAlgorithm.(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_Maglev:
		out.Algorithm, out.TableSize = mesh.Maglev, a.Maglev.GetTableSize()
		if n := out.TableSize; n != 0 && !usableTable(n) {
			r.say(at.At("maglev.tableSize"), verdict.Invalid, "%d is not a prime number between 2 and 5000011: the default of 65537 acts", n)
			out.TableSize = 0
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_RingHash_:
		out.RingSize = r.ringSize(at.At("ringHash.minimumRingSize"), a.RingHash.GetMinimumRingSize())
	default:
		out.RingSize = r.ringSize(at.At("minimumRingSize"), in.GetMinimumRingSize()) //nolint:staticcheck // deprecated by Istio, still written by users
	}
	key := &mesh.HashKey{}
	switch k := in.HashKey.(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		key.Header = strings.ToLower(k.HttpHeaderName)
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		key.Query = k.HttpQueryParameterName
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		key.SourceIP = k.UseSourceIp
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		key.Cookie = hashCookie(k.HttpCookie)
	}
	if *key == (mesh.HashKey{}) || key.Cookie != nil && key.Cookie.Name == "" {
		r.say(at, verdict.Invalid, "it names nothing to hash: requests are spread at random")
		return
	}
	out.Hash = key
}

// maxRing is Envoy's bound of ring sizes.
const maxRing = 8 << 20

func (r *reader) ringSize(at verdict.Origin, n uint64) uint64 {
	if n > maxRing {
		r.say(at, verdict.Invalid, "%d is above %d, which acts", n, maxRing)
		return maxRing
	}
	return n
}

// usableTable holds Envoy's conditions on the size of a Maglev table.
func usableTable(n uint64) bool {
	if n < 2 || n > 5000011 {
		return false
	}
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return false
		}
	}
	return true
}

func hashCookie(in *networking.LoadBalancerSettings_ConsistentHashLB_HTTPCookie) *mesh.HashCookie {
	out := &mesh.HashCookie{Name: in.GetName(), Path: in.GetPath()}
	if in.GetTtl() != nil {
		ttl := max(in.GetTtl().AsDuration(), 0)
		out.TTL = &ttl
	}
	for _, a := range in.GetAttributes() {
		out.Attributes = append(out.Attributes, mesh.CookieAttribute{Name: a.GetName(), Value: a.GetValue()})
	}
	return out
}

// warmup reads slow start; warmupDurationSecs is the older form without details.
func (r *reader) warmup(at verdict.Origin, in *networking.LoadBalancerSettings) *mesh.Warmup {
	out := &mesh.Warmup{MinPercent: 10, Aggression: 1}
	switch w := in.Warmup; {
	case w != nil:
		out.Duration = r.duration(at.At("warmup.duration"), w.Duration.AsDuration())
		if w.MinimumPercent != nil {
			out.MinPercent = w.MinimumPercent.Value
		}
		if w.Aggression != nil {
			out.Aggression = w.Aggression.Value
		}
	case in.GetWarmupDurationSecs() != nil: //nolint:staticcheck // deprecated by Istio, still written by users
		out.Duration = r.duration(at.At("warmupDurationSecs"), in.GetWarmupDurationSecs().AsDuration()) //nolint:staticcheck // as above
	}
	if out.Duration == 0 {
		return nil
	}
	if !(out.MinPercent >= 0 && out.MinPercent <= 100) {
		r.say(at.At("warmup.minimumPercent"), verdict.Invalid, "the percentage is not between 0 and 100: 10 acts")
		out.MinPercent = 10
	}
	if !(out.Aggression > 0) {
		r.say(at.At("warmup.aggression"), verdict.Invalid, "the aggression is not above 0: 1 acts")
		out.Aggression = 1
	}
	return out
}

// retryBudget reads the budget; Envoy's defaults are a fifth and three.
func (r *reader) retryBudget(at verdict.Origin, in *networking.TrafficPolicy_RetryBudget) *mesh.RetryBudget {
	if in == nil {
		return nil
	}
	out := &mesh.RetryBudget{Origin: at, Percent: 20, MinConcurrent: cmp.Or(in.MinRetryConcurrency, 3)}
	if in.Percent != nil {
		out.Percent = in.Percent.Value
	}
	if !(out.Percent >= 0 && out.Percent <= 100) {
		r.say(at.At("percent"), verdict.Invalid, "the percentage is not between 0 and 100: 20 acts")
		out.Percent = 20
	}
	out.Interval = r.duration(at.At("budgetInterval"), in.BudgetInterval.AsDuration())
	if out.Interval > 0 && out.Interval < time.Millisecond {
		out.Interval = time.Millisecond
	}
	return out
}

func proxyProtocol(in *networking.TrafficPolicy_ProxyProtocol) mesh.ProxyProtocol {
	switch {
	case in == nil:
		return mesh.NoProxyProtocol
	case in.Version == networking.TrafficPolicy_ProxyProtocol_V2:
		return mesh.ProxyProtocolV2
	}
	return mesh.ProxyProtocolV1
}
