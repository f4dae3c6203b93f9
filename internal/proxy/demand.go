package proxy

import (
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/demand"
	"github.com/lateen-mesh/lateen/internal/proxy/match"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// OnDemandField is the field of the node's metadata that says "true" where the proxy
// asks for what its workload calls.
const OnDemandField = "LATEEN_ON_DEMAND"

// onDemand reports whether the proxy is to ask. Gateways have their scope in their
// routes.
func (o *Options) onDemand() bool {
	return !o.gateway() && o.Node.GetMetadata().GetFields()[OnDemandField].GetStringValue() == "true"
}

func newDemand(o *Options) *demand.Table {
	return demand.New(demand.Options{
		Subscribe:   func(names ...string) { o.Source.Subscribe(wire.DemandType, names...) },
		Unsubscribe: func(names ...string) { o.Source.Unsubscribe(wire.DemandType, names...) },
	})
}

// demandAt asks for authorities on a port that services share: its route table is
// named by the number. nil where none can come: tables of one service take any.
func (p *Proxy) demandAt(l *config.Listener, table string) func([]byte) error {
	port, err := strconv.ParseUint(table, 10, 16)
	if p.demand == nil || l.Dir != stream.Outbound || err != nil {
		return nil
	}
	return func(authority []byte) error {
		return p.demand.Authority(strings.ToLower(string(match.WithoutPort(authority))), uint16(port))
	}
}
