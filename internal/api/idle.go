package api

import "github.com/lateen-mesh/lateen/internal/verdict"

// idle says of each kind that Lateen reads but does not act on yet what that means
// to whoever wrote an object of it. What would have refused requests says so aloud.
// A kind is either here or Acts; a test holds it. Read only after initialisation.
var idle = map[string]struct {
	code    verdict.Code
	message string
}{
	"AuthorizationPolicy":   {verdict.Unsupported, "NOT ENFORCED: authorization policies are not checked yet; requests that this one should refuse are let through"},
	"RequestAuthentication": {verdict.Unsupported, "NOT ENFORCED: tokens are not checked yet; requests with bad tokens are let through"},
	"WasmPlugin":            {verdict.Unsupported, "NOT ENFORCED: plugins are not run yet; what this one should refuse is let through"},
	"TrafficExtension":      {verdict.Unsupported, "NOT ENFORCED: extensions are not run yet; what this one should refuse is let through"},
	"EnvoyFilter":           {verdict.Unsupported, "patches of Envoy's configuration are not applied yet"},
	"BackendTLSPolicy":      {verdict.Unsupported, "NOT ENFORCED: backends are called without the TLS that the policy asks for"},
	"WorkloadGroup":         {verdict.NotActedOn, "not acted on yet: workloads are not registered by themselves"},
	"ProxyConfig":           {verdict.NotActedOn, "not acted on yet: proxies keep their settings"},
	"Telemetry":             {verdict.NotActedOn, "not acted on yet: metrics, traces and logs are as without it"},
	"ListenerSet":           {verdict.NotActedOn, "not acted on yet: its listeners are not opened"},
	"TLSRoute":              {verdict.NotActedOn, "not acted on yet: connections are not routed by it"},
	"TCPRoute":              {verdict.NotActedOn, "not acted on yet: connections are not routed by it"},
	"UDPRoute":              {verdict.NotActedOn, "not acted on yet: UDP does not go through the mesh"},
}

// Idle tells what it means that Lateen does not act on objects of the kind yet: a
// verdict on each of them. ok is false for kinds that act.
func (k *Kind) Idle() (code verdict.Code, message string, ok bool) {
	e, ok := idle[k.ID()]
	return e.code, e.message, ok
}
