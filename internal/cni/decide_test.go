package cni

import (
	"encoding/json"
	"strings"
	"testing"
)

// injected is a pod as injection with the plugin leaves it, with changes.
func injected(t *testing.T, change func(*Pod)) *Pod {
	t.Helper()
	var p Pod
	err := json.Unmarshal([]byte(`{
		"metadata": {"name": "web-1", "namespace": "shop", "uid": "u1", "annotations": {"sidecar.istio.io/status": "{}"}},
		"spec": {"nodeName": "node1",
			"initContainers": [{"name": "istio-validation"}, {"name": "istio-proxy", "args": ["run", "--pod"],
				"securityContext": {"runAsUser": 1337, "runAsGroup": 1337},
				"env": [{"name": "LATEEN_ROLE", "value": "sidecar"}, {"name": "ISTIO_META_DNS_CAPTURE", "value": "true"}]}],
			"containers": [{"name": "web"}]},
		"status": {"phase": "Running", "podIPs": [{"ip": "10.9.0.2"}]}}`), &p)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&p)
	}
	return &p
}

func annotate(pairs ...string) func(*Pod) {
	return func(p *Pod) {
		for i := 0; i < len(pairs); i += 2 {
			p.Metadata.Annotations[pairs[i]] = pairs[i+1]
		}
	}
}

func setEnv(name, value string) func(*Pod) {
	return func(p *Pod) {
		c := p.container(proxyContainer)
		c.Env = append([]EnvVar{{name, value}}, c.Env...)
	}
}

func TestDecide(t *testing.T) {
	const usual = `{"mode":"REDIRECT","outboundPort":15001,"inboundPort":15006,"tunnelPort":15008,"dnsPort":15053,"uids":[1337],"gids":[1337],` +
		`"inbound":{"all":true},"excludeInbound":[15020,15021,15090],"outbound":{"all":true},"groups":{"except":true},"captureDNS":true,"mark":1337,"routeTable":133,"loopback":"127.0.0.1/32"}`
	with := func(pairs ...string) string {
		s := usual
		for i := 0; i < len(pairs); i += 2 {
			if !strings.Contains(s, pairs[i]) {
				t.Fatalf("no %s in %s", pairs[i], s)
			}
			s = strings.Replace(s, pairs[i], pairs[i+1], 1)
		}
		return s
	}
	for name, c := range map[string]struct {
		change func(*Pod)
		want   string
	}{
		"injected": {nil, usual},
		"TPROXY, as root": {func(p *Pod) {
			annotate(modeAnnotation, "TPROXY")(p)
			*p.container(proxyContainer).SecurityContext.RunAsUser = 0
		}, with("REDIRECT", "TPROXY")},
		"mode from the env":  {setEnv("ISTIO_META_INTERCEPTION_MODE", "TPROXY"), with("REDIRECT", "TPROXY")},
		"another user":       {func(p *Pod) { *p.container(proxyContainer).SecurityContext.RunAsUser = 2000 }, with(`"uids":[1337]`, `"uids":[2000]`)},
		"no user":            {func(p *Pod) { p.container(proxyContainer).SecurityContext = nil }, usual},
		"inbound ports":      {annotate(trafficPrefix+"includeInboundPorts", "80,443"), with(`{"all":true},"excl`, `{"ports":[80,443]},"excl`)},
		"no inbound":         {annotate(trafficPrefix+"includeInboundPorts", ""), with(`{"all":true},"excl`, `{},"excl`)},
		"excluded inbound":   {annotate(trafficPrefix+"excludeInboundPorts", "22,15090"), with("[15020,15021,15090]", "[22,15090,15020,15021]")},
		"status port":        {annotate(portAnnotation, "15999"), with("[15020,", "[15999,")},
		"outbound ranges":    {annotate(trafficPrefix+"includeOutboundIPRanges", "10.0.0.0/8"), with(`"outbound":{"all":true}`, `"outbound":{"prefixes":["10.0.0.0/8"]}`)},
		"excluded ranges":    {annotate(trafficPrefix+"excludeOutboundIPRanges", "10.0.0.0/8"), with(`"groups"`, `"excludeOutbound":["10.0.0.0/8"],"groups"`)},
		"outbound ports":     {annotate(trafficPrefix+"includeOutboundPorts", "1", trafficPrefix+"excludeOutboundPorts", "2"), with(`"groups"`, `"includeOutboundPorts":[1],"excludeOutboundPorts":[2],"groups"`)},
		"interfaces":         {annotate(trafficPrefix+"excludeInterfaces", "net1", rerouteAnnotation, "k6t"), with(`"groups"`, `"rerouteInterfaces":["k6t"],"excludeInterfaces":["net1"],"groups"`)},
		"older name":         {annotate(trafficPrefix+"kubevirtInterfaces", "k6t"), with(`"groups"`, `"rerouteInterfaces":["k6t"],"groups"`)},
		"groups":             {setEnv("ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE", "7"), with(`{"except":true}`, `{"except":true,"ids":[7]}`)},
		"names not captured": {setEnv("ISTIO_META_DNS_CAPTURE", "false"), with(`"captureDNS":true,`, "")},
		"drop invalid":       {setEnv("INVALID_DROP", "true"), with(`"mark"`, `"dropInvalid":true,"mark"`)},

		"mode NONE":      {annotate(modeAnnotation, "NONE"), "its interception mode is NONE"},
		"namespace":      {func(p *Pod) { p.Metadata.Namespace = "kube-system" }, "its namespace is excluded"},
		"host's network": {func(p *Pod) { p.Spec.HostNetwork = true }, "it uses the host's network"},
		"no proxy":       {func(p *Pod) { p.Spec.InitContainers = nil }, "it has no container istio-proxy"},
		"ordinary sidecar": {func(p *Pod) {
			p.Spec.Containers, p.Spec.InitContainers = append(p.Spec.Containers, p.Spec.InitContainers[1]), nil
		}, usual},
		"init container":  {func(p *Pod) { p.Spec.InitContainers[0].Name = "istio-init" }, "its container istio-init redirects"},
		"gateway":         {setEnv("LATEEN_ROLE", "router"), "it is a gateway"},
		"Istio's gateway": {func(p *Pod) { p.container(proxyContainer).Args = []string{"proxy", "router"} }, "it is a gateway"},
		"switched off":    {func(p *Pod) { p.Metadata.Labels = map[string]string{injectName: "false"} }, "injection is switched off for it"},
		"label before annotation": {func(p *Pod) {
			p.Metadata.Labels = map[string]string{injectName: "true"}
			annotate(injectName, "false")(p)
		}, usual},
		"not injected": {func(p *Pod) { p.Metadata.Annotations = nil }, "it was not injected (no annotation sidecar.istio.io/status)"},

		"wrong port":       {annotate(trafficPrefix+"includeInboundPorts", "http"), `error: pod shop/web-1: inbound ports: "http" is not a port`},
		"wrong mode":       {annotate(modeAnnotation, "OFF"), `error: pod shop/web-1: interception mode: "OFF" is none of REDIRECT, TPROXY, NONE`},
		"wrong annotation": {annotate(trafficPrefix+"excludeOutboundPort", "1"), `error: pod shop/web-1: annotation traffic.sidecar.istio.io/excludeOutboundPort is not known`},
		"wrong env":        {setEnv("ISTIO_META_DNS_CAPTURE", "maybe"), `error: pod shop/web-1: environment variable ISTIO_META_DNS_CAPTURE of istio-proxy: "maybe" is neither true nor false`},
	} {
		t.Run(name, func(t *testing.T) {
			d, err := Decide(injected(t, c.change), []string{"kube-system"})
			got := d.Reason
			if err != nil {
				got = "error: " + err.Error()
			} else if d.Options != nil {
				text, err := json.Marshal(d.Options)
				if err != nil {
					t.Fatal(err)
				}
				got = string(text)
			}
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}
