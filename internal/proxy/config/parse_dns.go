package config

import (
	caresv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	"google.golang.org/protobuf/proto"
)

// checkCares refuses name servers of the cluster's own; the rest of the message
// tunes a library that this proxy does not use.
func checkCares(s *scope, e extension) error {
	m := &caresv3.CaresDnsResolverConfig{}
	if err := proto.Unmarshal(e.value, m); err != nil {
		return s.errorf("%w", err)
	}
	if len(m.GetResolvers()) > 0 {
		return s.at("resolvers").unsupported()
	}
	return nil
}
