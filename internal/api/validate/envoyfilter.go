package validate

import (
	"maps"
	"slices"

	networking "istio.io/api/networking/v1alpha3"
)

func (c *checker) envoyFilter(f *networking.EnvoyFilter) {
	c.workloadSelector("spec.workloadSelector", f.WorkloadSelector)
	if f.WorkloadSelector != nil && len(f.TargetRefs) > 0 {
		c.fail("spec.targetRefs", "only one of targetRefs and workloadSelector can be set")
	}
	c.targets(false, nil, f.TargetRefs)
	if len(f.ConfigPatches) == 0 {
		c.warn("spec.configPatches", "without patches the filter does nothing")
	}
	for i, p := range f.ConfigPatches {
		c.configPatch(at("spec.configPatches", i), p)
	}
}

// patchClass says which match goes with what a patch is applied to.
func patchClass(a networking.EnvoyFilter_ApplyTo) string {
	switch a {
	case networking.EnvoyFilter_LISTENER, networking.EnvoyFilter_FILTER_CHAIN, networking.EnvoyFilter_NETWORK_FILTER,
		networking.EnvoyFilter_HTTP_FILTER, networking.EnvoyFilter_LISTENER_FILTER:
		return "listener"
	case networking.EnvoyFilter_ROUTE_CONFIGURATION, networking.EnvoyFilter_VIRTUAL_HOST, networking.EnvoyFilter_HTTP_ROUTE:
		return "routeConfiguration"
	case networking.EnvoyFilter_CLUSTER:
		return "cluster"
	}
	return ""
}

func (c *checker) configPatch(path string, p *networking.EnvoyFilter_EnvoyConfigObjectPatch) {
	if p.ApplyTo == networking.EnvoyFilter_INVALID {
		c.fail(path+".applyTo", "it must be said what the patch is applied to, such as HTTP_FILTER or CLUSTER")
		return
	}
	op := p.GetPatch().GetOperation()
	switch {
	case p.Patch == nil:
		c.fail(path+".patch", "a patch is required")
		return
	case op == networking.EnvoyFilter_Patch_INVALID:
		c.fail(path+".patch.operation", "an operation is required, such as MERGE, ADD or INSERT_BEFORE")
	case op != networking.EnvoyFilter_Patch_REMOVE && len(p.Patch.GetValue().GetFields()) == 0:
		c.fail(path+".patch.value", "the operation %s needs a value", op)
	case op == networking.EnvoyFilter_Patch_REMOVE && len(p.Patch.GetValue().GetFields()) > 0:
		c.warn(path+".patch.value", "the operation REMOVE takes no value")
	}
	if p.ApplyTo == networking.EnvoyFilter_BOOTSTRAP && op != networking.EnvoyFilter_Patch_MERGE {
		c.fail(path+".patch.operation", "the bootstrap can only be merged with")
	}
	c.patchMatch(path+".match", p, op)
}

func (c *checker) patchMatch(path string, p *networking.EnvoyFilter_EnvoyConfigObjectPatch, op networking.EnvoyFilter_Patch_Operation) {
	m := p.Match
	if m == nil {
		return
	}
	if r := m.GetProxy().GetProxyVersion(); r != "" {
		c.regex(path+".proxy.proxyVersion", r)
	}
	for _, k := range slices.Sorted(maps.Keys(m.GetProxy().GetMetadata())) {
		if k == "" || m.Proxy.Metadata[k] == "" {
			c.fail(key(path+".proxy.metadata", k), "a key and a value are required")
		}
	}
	waypoint := m.Context == networking.EnvoyFilter_WAYPOINT
	if (m.GetWaypoint() != nil) != waypoint {
		c.fail(path+".waypoint", "a match of waypoints goes with the context WAYPOINT, and with no other")
	}
	class, field := patchClass(p.ApplyTo), ""
	switch {
	case m.GetListener() != nil:
		field = "listener"
	case m.GetRouteConfiguration() != nil:
		field = "routeConfiguration"
	case m.GetCluster() != nil:
		field = "cluster"
	}
	if field != "" && class != "" && field != class {
		c.fail(path+"."+field, "a patch of %s is matched by %s, not by %s", p.ApplyTo, class, field)
	}
	if p.ApplyTo == networking.EnvoyFilter_BOOTSTRAP && field != "" {
		c.fail(path+"."+field, "the bootstrap is matched by the proxy alone")
	}
	c.filterMatch(path+".listener.filterChain.filter", p, op)
}

const connectionManager = "envoy.filters.network.http_connection_manager"

func (c *checker) filterMatch(path string, p *networking.EnvoyFilter_EnvoyConfigObjectPatch, op networking.EnvoyFilter_Patch_Operation) {
	f := p.GetMatch().GetListener().GetFilterChain().GetFilter()
	if f == nil {
		return
	}
	manager := f.Name == connectionManager || f.Name == "envoy.http_connection_manager"
	switch {
	case f.Name == "":
		c.fail(path+".name", "a filter is matched by its name")
	case f.SubFilter != nil && !manager:
		c.fail(path+".subFilter", "only %s has filters below it, not %s", connectionManager, f.Name)
	case f.SubFilter != nil && f.SubFilter.Name == "":
		c.fail(path+".subFilter.name", "a filter is matched by its name")
	case p.ApplyTo == networking.EnvoyFilter_HTTP_FILTER && f.SubFilter == nil &&
		(op == networking.EnvoyFilter_Patch_INSERT_BEFORE || op == networking.EnvoyFilter_Patch_INSERT_AFTER):
		c.warn(path+".subFilter", "without the name of the filter beside which to insert, %s puts the filter at an end of the chain", op)
	}
	c.oldName(path+".name", f.Name)
	c.oldName(path+".subFilter.name", f.GetSubFilter().GetName())
}

// oldNames are names of filters that Envoy has given up.
var oldNames = map[string]string{
	"envoy.http_connection_manager": connectionManager, "envoy.router": "envoy.filters.http.router",
	"envoy.tcp_proxy": "envoy.filters.network.tcp_proxy", "envoy.cors": "envoy.filters.http.cors", "envoy.fault": "envoy.filters.http.fault",
}

func (c *checker) oldName(path, name string) {
	if now := oldNames[name]; now != "" {
		c.warn(path, "%s is a name that proxies no longer use; write %s", name, now)
	}
}
