package validate

import (
	"maps"
	"slices"
	"strconv"

	security "istio.io/api/security/v1beta1"
)

func (c *checker) peerAuthentication(p *security.PeerAuthentication) {
	c.policySelector("spec.selector", p.Selector)
	if p.PortLevelMtls != nil && len(p.GetSelector().GetMatchLabels()) == 0 {
		c.fail("spec.portLevelMtls", "settings for ports need a selector with matchLabels; ports belong to workloads")
	}
	for _, port := range slices.Sorted(maps.Keys(p.PortLevelMtls)) {
		c.port(key("spec.portLevelMtls", strconv.FormatUint(uint64(port), 10)), int64(port))
	}
}
