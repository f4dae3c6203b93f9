package install

import (
	"fmt"
	"maps"
	"slices"
)

// single is a component of one release.
func (t *translator) single(id string, components map[string]any, r Release) []Release {
	c, ok := components[id].(map[string]any)
	if !ok {
		if components[id] != nil {
			t.failf("components.%s: not an object", id)
		}
		return nil
	}
	path := "components." + id
	t.checkKeys(path, c, "enabled", "hub", "tag", "namespace", "k8s")
	if on, _ := c["enabled"].(bool); !on {
		return nil
	}
	if ns, ok := c["namespace"].(string); ok && ns != "" {
		r.Namespace = ns
	}
	extra := map[string]any{}
	place := map[string]string{"pilot": "pilot", "cni": "cni"}[id]
	for _, name := range []string{"hub", "tag"} {
		if v := c[name]; v != nil && place != "" {
			extra[name] = fmt.Sprint(v)
		}
	}
	maps.Copy(extra, t.resources(path+".k8s", c["k8s"], controlPlaneResources))
	if len(extra) > 0 {
		if place == "" {
			t.failf("%s: nothing runs there: only enabled can be set", path)
			return nil
		}
		r.Values = overlay(r.Values, map[string]any{place: extra})
	}
	return []Release{r}
}

// gateways are the releases of a list of gateways.
func (t *translator) gateways(id string, components, values map[string]any) []Release {
	list, ok := components[id].([]any)
	if !ok && components[id] != nil {
		t.failf("components.%s: not a list", id)
	}
	var out []Release
	for i, v := range list {
		path := fmt.Sprintf("components.%s[%d]", id, i)
		g, ok := v.(map[string]any)
		if !ok {
			t.failf("%s: not an object", path)
			continue
		}
		t.checkKeys(path, g, "name", "enabled", "namespace", "label", "k8s")
		name, _ := g["name"].(string)
		if name == "" {
			t.failf("%s: it has no name", path)
			continue
		}
		if on, _ := g["enabled"].(bool); !on {
			continue
		}
		r := Release{Name: name, Chart: chartGateway, Namespace: t.plan.Namespace}
		if ns, ok := g["namespace"].(string); ok && ns != "" {
			r.Namespace = ns
		}
		r.Values = t.forChart(values, chartGateway)
		r.Values = overlay(r.Values, t.oldGatewayValues(id, name, values))
		r.Values = overlay(r.Values, t.resources(path+".k8s", g["k8s"], gatewayResources))
		if l, ok := g["label"].(map[string]any); ok {
			r.Values = overlay(r.Values, map[string]any{"labels": l})
		}
		if id == "egressGateways" {
			r.Values = overlay(map[string]any{"service": map[string]any{"type": "ClusterIP"}}, r.Values)
		}
		if service, _ := r.Values["service"].(map[string]any); service["ports"] == nil {
			r.Values = overlay(map[string]any{"service": map[string]any{"ports": operatorPorts()}}, r.Values)
		}
		out = append(out, r)
	}
	return out
}

// operatorPorts are the ports that Istio's operator gives its gateways where nothing
// else is said: unlike the chart's, they lead to unprivileged ports of the pods.
// A Gateway object may name a port of the Service (80) or, as the one of Istio's
// Bookinfo does, a port of the pods (8080).
func operatorPorts() []any {
	port := func(name string, port, target int64) any {
		return map[string]any{"name": name, "port": port, "protocol": "TCP", "targetPort": target}
	}
	return []any{port("status-port", 15021, 15021), port("http2", 80, 8080), port("https", 443, 8443)}
}

func (t *translator) checkKeys(path string, m map[string]any, allowed ...string) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if !slices.Contains(allowed, name) {
			t.failf("%s.%s: not supported; there are %v", path, name, allowed)
		}
	}
}

// place says where a setting of IstioOperator lies in a chart's values.
type place struct {
	path []string
	// convert gives the chart's form of a value; nil: it is the same.
	convert func(any) (any, error)
}

// controlPlaneResources are the settings of k8s for the control plane, below
// pilot.
var controlPlaneResources = map[string]place{
	"resources":                             {path: []string{"resources"}},
	"replicaCount":                          {path: []string{"replicaCount"}},
	"hpaSpec.minReplicas":                   {path: []string{"autoscaleMin"}},
	"hpaSpec.maxReplicas":                   {path: []string{"autoscaleMax"}},
	"env":                                   {path: []string{"env"}, convert: environment},
	"nodeSelector":                          {path: []string{"nodeSelector"}},
	"tolerations":                           {path: []string{"tolerations"}},
	"affinity":                              {path: []string{"affinity"}},
	"podAnnotations":                        {path: []string{"podAnnotations"}},
	"serviceAnnotations":                    {path: []string{"serviceAnnotations"}},
	"volumes":                               {path: []string{"volumes"}},
	"volumeMounts":                          {path: []string{"volumeMounts"}},
	"strategy.type":                         {path: nil, convert: rollingUpdate},
	"strategy.rollingUpdate.maxSurge":       {path: []string{"rollingMaxSurge"}},
	"strategy.rollingUpdate.maxUnavailable": {path: []string{"rollingMaxUnavailable"}},
}

// gatewayResources are the settings of k8s for a gateway.
var gatewayResources = map[string]place{
	"resources":                        {path: []string{"resources"}},
	"replicaCount":                     {path: []string{"replicaCount"}},
	"hpaSpec.minReplicas":              {path: []string{"autoscaling", "minReplicas"}},
	"hpaSpec.maxReplicas":              {path: []string{"autoscaling", "maxReplicas"}},
	"env":                              {path: []string{"env"}, convert: environment},
	"nodeSelector":                     {path: []string{"nodeSelector"}},
	"tolerations":                      {path: []string{"tolerations"}},
	"affinity":                         {path: []string{"affinity"}},
	"podAnnotations":                   {path: []string{"podAnnotations"}},
	"priorityClassName":                {path: []string{"priorityClassName"}},
	"imagePullPolicy":                  {path: []string{"imagePullPolicy"}},
	"podDisruptionBudget":              {path: []string{"podDisruptionBudget"}},
	"securityContext":                  {path: []string{"securityContext"}},
	"strategy":                         {path: []string{"strategy"}},
	"volumes":                          {path: []string{"volumes"}},
	"volumeMounts":                     {path: []string{"volumeMounts"}},
	"serviceAnnotations":               {path: []string{"service", "annotations"}},
	"service.type":                     {path: []string{"service", "type"}},
	"service.ports":                    {path: []string{"service", "ports"}},
	"service.loadBalancerIP":           {path: []string{"service", "loadBalancerIP"}},
	"service.loadBalancerSourceRanges": {path: []string{"service", "loadBalancerSourceRanges"}},
	"service.externalTrafficPolicy":    {path: []string{"service", "externalTrafficPolicy"}},
	"service.externalIPs":              {path: []string{"service", "externalIPs"}},
	"service.clusterIP":                {path: []string{"service", "clusterIP"}},
}

// oldGatewayResources are the names that Istio's operator has for a gateway's
// Helm values (values.gateways.istio-ingressgateway).
var oldGatewayResources = map[string]place{
	"autoscaleEnabled":             {path: []string{"autoscaling", "enabled"}},
	"autoscaleMin":                 {path: []string{"autoscaling", "minReplicas"}},
	"autoscaleMax":                 {path: []string{"autoscaling", "maxReplicas"}},
	"cpu.targetAverageUtilization": {path: []string{"autoscaling", "targetCPUUtilizationPercentage"}},
	"type":                         {path: []string{"service", "type"}},
	"ports":                        {path: []string{"service", "ports"}},
	"loadBalancerIP":               {path: []string{"service", "loadBalancerIP"}},
	"loadBalancerSourceRanges":     {path: []string{"service", "loadBalancerSourceRanges"}},
	"externalTrafficPolicy":        {path: []string{"service", "externalTrafficPolicy"}},
	"externalIPs":                  {path: []string{"service", "externalIPs"}},
	"serviceAnnotations":           {path: []string{"service", "annotations"}},
	"podAnnotations":               {path: []string{"podAnnotations"}},
	"resources":                    {path: []string{"resources"}},
	"env":                          {path: []string{"env"}},
	"labels":                       {path: []string{"labels"}},
	"nodeSelector":                 {path: []string{"nodeSelector"}},
	"tolerations":                  {path: []string{"tolerations"}},
}

// oldGatewayValues translates values.gateways.NAME.
func (t *translator) oldGatewayValues(id, name string, values map[string]any) map[string]any {
	all, ok := values["gateways"].(map[string]any)
	if !ok {
		if values["gateways"] != nil {
			t.failf("values.gateways: not an object")
		}
		return nil
	}
	standard := map[string]string{"istio-ingressgateway": "ingressGateways", "istio-egressgateway": "egressGateways"}
	out := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		path := "values.gateways." + key
		switch {
		case key == "securityContext":
			out = overlay(out, map[string]any{"securityContext": all[key]})
		case standard[key] == "":
			t.failf("%s: only istio-ingressgateway, istio-egressgateway and securityContext can be set there", path)
		case standard[key] == id && key == name || standard[key] == id && standard[name] == "":
			out = overlay(out, t.resources(path, all[key], oldGatewayResources))
		}
	}
	return out
}

// resources translates one object of settings by a table of places; what the
// table does not have is refused.
func (t *translator) resources(path string, v any, table map[string]place) map[string]any {
	out := map[string]any{}
	m, ok := v.(map[string]any)
	if !ok {
		if v != nil {
			t.failf("%s: not an object", path)
		}
		return out
	}
	t.walk(path, "", m, table, out)
	return out
}

func (t *translator) walk(path, prefix string, m map[string]any, table map[string]place, out map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		key, v := prefix+name, m[name]
		p, ok := table[key]
		if !ok {
			below, isMap := v.(map[string]any)
			if !isMap || !hasPrefix(table, key+".") {
				t.failf("%s.%s: not supported; set a value of the Helm chart, or change the object afterwards", path, key)
				continue
			}
			t.walk(path, key+".", below, table, out)
			continue
		}
		if p.convert != nil {
			converted, err := p.convert(v)
			if err != nil {
				t.failf("%s.%s: %w", path, key, err)
				continue
			}
			v = converted
		}
		if p.path != nil {
			put(out, p.path, v)
		}
	}
}

func hasPrefix(table map[string]place, prefix string) bool {
	for k := range table {
		if len(k) > len(prefix) && k[:len(prefix)] == prefix {
			return true
		}
	}
	return false
}

func put(m map[string]any, path []string, v any) {
	for _, name := range path[:len(path)-1] {
		below, ok := m[name].(map[string]any)
		if !ok {
			below = map[string]any{}
			m[name] = below
		}
		m = below
	}
	m[path[len(path)-1]] = v
}

// environment turns a container's list of variables into the charts' map.
func environment(v any) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, fmt.Errorf("not a list")
	}
	out := map[string]any{}
	for i, e := range list {
		m, _ := e.(map[string]any)
		name, ok := m["name"].(string)
		if !ok {
			return nil, fmt.Errorf("[%d] has no name", i)
		}
		if m["valueFrom"] != nil {
			return nil, fmt.Errorf("%s: valueFrom is not supported: set envVarFrom of the Helm chart", name)
		}
		out[name] = fmt.Sprint(m["value"])
	}
	return out, nil
}

func rollingUpdate(v any) (any, error) {
	if v != "RollingUpdate" {
		return nil, fmt.Errorf("%v: only RollingUpdate", v)
	}
	return nil, nil
}
