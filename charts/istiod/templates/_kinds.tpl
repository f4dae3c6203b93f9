{{/* The kinds that the control plane reads and whose status it writes, by API group. */}}
{{- define "istiod.kinds" -}}
networking.istio.io: [destinationrules, envoyfilters, gateways, proxyconfigs, serviceentries, sidecars, virtualservices, workloadentries, workloadgroups]
security.istio.io: [authorizationpolicies, peerauthentications, requestauthentications]
telemetry.istio.io: [telemetries]
extensions.istio.io: [wasmplugins, trafficextensions]
gateway.networking.k8s.io: [backendtlspolicies, gatewayclasses, gateways, grpcroutes, httproutes, listenersets, referencegrants, tcproutes, tlsroutes, udproutes]
{{- end -}}
