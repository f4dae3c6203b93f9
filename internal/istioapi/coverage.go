package istioapi

import "github.com/lateen-mesh/lateen/internal/verdict"

// Every field of the kinds that act stands in one of the two tables below; a test
// walks the API's descriptors and fails for one that does not. isRead holds the
// fields that the converters consume (which may still refuse a value with a
// verdict of its own); notRead those that yield a verdict wherever they are set.

type reason struct {
	code    verdict.Code
	message string
}

// isRead is read only after initialisation.
var isRead = set(
	"VirtualService.hosts", "VirtualService.gateways", "VirtualService.http", "VirtualService.tcp", "VirtualService.export_to",
	"HTTPRoute.name", "HTTPRoute.match", "HTTPRoute.route", "HTTPRoute.redirect", "HTTPRoute.direct_response", "HTTPRoute.rewrite", "HTTPRoute.timeout",
	"HTTPRoute.retries", "HTTPRoute.fault", "HTTPRoute.mirror", "HTTPRoute.mirrors", "HTTPRoute.mirror_percent", "HTTPRoute.mirror_percentage",
	"HTTPRoute.cors_policy", "CorsPolicy.allow_origin", "CorsPolicy.allow_origins", "CorsPolicy.allow_methods", "CorsPolicy.allow_headers",
	"CorsPolicy.expose_headers", "CorsPolicy.max_age", "CorsPolicy.allow_credentials", "CorsPolicy.unmatched_preflights",
	"HTTPRoute.headers", "HTTPRoute.delegate", "Delegate.name", "Delegate.namespace",
	"HTTPMatchRequest.name", "HTTPMatchRequest.uri", "HTTPMatchRequest.scheme", "HTTPMatchRequest.method", "HTTPMatchRequest.authority",
	"HTTPMatchRequest.headers", "HTTPMatchRequest.without_headers", "HTTPMatchRequest.query_params", "HTTPMatchRequest.ignore_uri_case",
	"HTTPMatchRequest.port", "HTTPMatchRequest.source_labels", "HTTPMatchRequest.source_namespace", "HTTPMatchRequest.gateways",
	"StringMatch.exact", "StringMatch.prefix", "StringMatch.regex",
	"HTTPRouteDestination.destination", "HTTPRouteDestination.weight", "HTTPRouteDestination.headers",
	"Destination.host", "Destination.subset", "Destination.port", "PortSelector.number",
	"Headers.request", "Headers.response",
	"Headers.HeaderOperations.set", "Headers.HeaderOperations.add", "Headers.HeaderOperations.remove",
	"HTTPRedirect.uri", "HTTPRedirect.authority", "HTTPRedirect.port", "HTTPRedirect.derive_port", "HTTPRedirect.scheme", "HTTPRedirect.redirect_code", "HTTPRedirect.prefix_rewrite",
	"HTTPDirectResponse.status", "HTTPDirectResponse.body", "HTTPBody.string", "HTTPBody.bytes",
	"HTTPRewrite.uri", "HTTPRewrite.authority", "HTTPRewrite.uri_regex_rewrite", "RegexRewrite.match", "RegexRewrite.rewrite",
	"HTTPRetry.attempts", "HTTPRetry.per_try_timeout", "HTTPRetry.retry_on", "HTTPRetry.backoff", "HTTPRetry.retry_ignore_previous_hosts",
	"HTTPFaultInjection.delay", "HTTPFaultInjection.abort",
	"HTTPFaultInjection.Delay.fixed_delay", "HTTPFaultInjection.Delay.percent", "HTTPFaultInjection.Delay.percentage",
	"HTTPFaultInjection.Abort.http_status", "HTTPFaultInjection.Abort.grpc_status", "HTTPFaultInjection.Abort.percentage", "Percent.value",
	"HTTPMirrorPolicy.destination", "HTTPMirrorPolicy.percentage",
	"TCPRoute.match", "TCPRoute.route", "RouteDestination.destination", "RouteDestination.weight",
	"L4MatchAttributes.port", "L4MatchAttributes.source_labels", "L4MatchAttributes.source_namespace", "L4MatchAttributes.gateways",
	"L4MatchAttributes.destination_subnets",
	"VirtualService.tls", "TLSRoute.match", "TLSRoute.route", "TLSMatchAttributes.sni_hosts", "TLSMatchAttributes.destination_subnets",
	"TLSMatchAttributes.port", "TLSMatchAttributes.source_labels", "TLSMatchAttributes.gateways", "TLSMatchAttributes.source_namespace",

	"DestinationRule.host", "DestinationRule.traffic_policy", "DestinationRule.subsets", "DestinationRule.export_to", "DestinationRule.workload_selector",
	"Subset.name", "Subset.labels", "Subset.traffic_policy",
	"TrafficPolicy.load_balancer", "TrafficPolicy.connection_pool", "TrafficPolicy.outlier_detection", "TrafficPolicy.tls", "TrafficPolicy.port_level_settings",
	"TrafficPolicy.PortTrafficPolicy.port", "TrafficPolicy.PortTrafficPolicy.load_balancer", "TrafficPolicy.PortTrafficPolicy.connection_pool",
	"TrafficPolicy.PortTrafficPolicy.outlier_detection", "TrafficPolicy.PortTrafficPolicy.tls",
	"LoadBalancerSettings.simple", "LoadBalancerSettings.consistent_hash", "LoadBalancerSettings.locality_lb_setting",
	"LoadBalancerSettings.warmup", "LoadBalancerSettings.warmup_duration_secs",
	"LoadBalancerSettings.ConsistentHashLB.http_header_name", "LoadBalancerSettings.ConsistentHashLB.http_cookie",
	"LoadBalancerSettings.ConsistentHashLB.use_source_ip", "LoadBalancerSettings.ConsistentHashLB.http_query_parameter_name",
	"LoadBalancerSettings.ConsistentHashLB.ring_hash", "LoadBalancerSettings.ConsistentHashLB.maglev",
	"LoadBalancerSettings.ConsistentHashLB.minimum_ring_size",
	"LoadBalancerSettings.ConsistentHashLB.RingHash.minimum_ring_size", "LoadBalancerSettings.ConsistentHashLB.MagLev.table_size",
	"LoadBalancerSettings.ConsistentHashLB.HTTPCookie.name", "LoadBalancerSettings.ConsistentHashLB.HTTPCookie.path",
	"LoadBalancerSettings.ConsistentHashLB.HTTPCookie.ttl", "LoadBalancerSettings.ConsistentHashLB.HTTPCookie.attributes",
	"LoadBalancerSettings.ConsistentHashLB.HTTPCookie.Attribute.name", "LoadBalancerSettings.ConsistentHashLB.HTTPCookie.Attribute.value",
	"WarmupConfiguration.duration", "WarmupConfiguration.minimum_percent", "WarmupConfiguration.aggression",
	"LocalityLoadBalancerSetting.distribute", "LocalityLoadBalancerSetting.failover", "LocalityLoadBalancerSetting.failover_priority",
	"LocalityLoadBalancerSetting.enabled", "LocalityLoadBalancerSetting.Distribute.from", "LocalityLoadBalancerSetting.Distribute.to",
	"LocalityLoadBalancerSetting.Failover.from", "LocalityLoadBalancerSetting.Failover.to",
	"TrafficPolicy.retry_budget", "TrafficPolicy.RetryBudget.percent", "TrafficPolicy.RetryBudget.min_retry_concurrency",
	"TrafficPolicy.RetryBudget.budget_interval", "TrafficPolicy.proxy_protocol", "TrafficPolicy.ProxyProtocol.version",
	"ConnectionPoolSettings.TCPSettings.idle_timeout", "OutlierDetection.outlier_detection_http_error_codes",
	"HTTPRetry.retry_remote_localities",
	"ConnectionPoolSettings.tcp", "ConnectionPoolSettings.http",
	"ConnectionPoolSettings.TCPSettings.max_connections", "ConnectionPoolSettings.TCPSettings.connect_timeout", "ConnectionPoolSettings.TCPSettings.tcp_keepalive",
	"ConnectionPoolSettings.TCPSettings.max_connection_duration",
	"ConnectionPoolSettings.TCPSettings.TcpKeepalive.probes", "ConnectionPoolSettings.TCPSettings.TcpKeepalive.time", "ConnectionPoolSettings.TCPSettings.TcpKeepalive.interval",
	"ConnectionPoolSettings.HTTPSettings.http1_max_pending_requests", "ConnectionPoolSettings.HTTPSettings.http2_max_requests",
	"ConnectionPoolSettings.HTTPSettings.max_requests_per_connection", "ConnectionPoolSettings.HTTPSettings.max_retries",
	"ConnectionPoolSettings.HTTPSettings.idle_timeout", "ConnectionPoolSettings.HTTPSettings.h2_upgrade_policy",
	"ConnectionPoolSettings.HTTPSettings.use_client_protocol", "ConnectionPoolSettings.HTTPSettings.max_concurrent_streams",
	"ConnectionPoolSettings.HTTPSettings.http2_keep_alive",
	"ConnectionPoolSettings.HTTPSettings.ConnectionKeepalive.interval", "ConnectionPoolSettings.HTTPSettings.ConnectionKeepalive.timeout",
	"OutlierDetection.consecutive_5xx_errors", "OutlierDetection.consecutive_gateway_errors",
	"OutlierDetection.consecutive_local_origin_failures", "OutlierDetection.split_external_local_origin_errors", "OutlierDetection.interval",
	"OutlierDetection.base_ejection_time", "OutlierDetection.max_ejection_percent", "OutlierDetection.min_health_percent",
	"ClientTLSSettings.mode", "ClientTLSSettings.sni", "ClientTLSSettings.subject_alt_names",
	"WorkloadSelector.match_labels",

	"Gateway.selector", "Gateway.servers",
	"Server.name", "Server.port", "Server.hosts", "Server.tls", "Server.bind",
	"Port.number", "Port.name", "Port.protocol",
	"ServerTLSSettings.mode", "ServerTLSSettings.https_redirect", "ServerTLSSettings.credential_name",
	"ServerTLSSettings.credential_names", "ServerTLSSettings.ca_cert_credential_name", "ServerTLSSettings.insecure_skip_verify",
	"ServerTLSSettings.subject_alt_names", "ServerTLSSettings.verify_certificate_spki", "ServerTLSSettings.verify_certificate_hash",
	"ServerTLSSettings.min_protocol_version", "ServerTLSSettings.max_protocol_version", "ServerTLSSettings.cipher_suites",

	"ServiceEntry.hosts", "ServiceEntry.addresses", "ServiceEntry.ports", "ServiceEntry.location", "ServiceEntry.resolution", "ServiceEntry.endpoints",
	"ServiceEntry.workload_selector", "ServiceEntry.export_to", "ServiceEntry.subject_alt_names",
	"ServicePort.number", "ServicePort.protocol", "ServicePort.name", "ServicePort.target_port",
	"WorkloadEntry.address", "WorkloadEntry.ports", "WorkloadEntry.labels", "WorkloadEntry.locality", "WorkloadEntry.weight", "WorkloadEntry.service_account",
	"WorkloadSelector.labels",
	"Sidecar.workload_selector", "Sidecar.ingress", "Sidecar.egress", "Sidecar.outbound_traffic_policy",
	"IstioIngressListener.port", "IstioIngressListener.default_endpoint",
	"IstioEgressListener.port", "IstioEgressListener.hosts", "SidecarPort.number", "SidecarPort.protocol", "SidecarPort.name",
	"OutboundTrafficPolicy.mode",

	"PeerAuthentication.selector", "PeerAuthentication.mtls", "PeerAuthentication.port_level_mtls", "PeerAuthentication.MutualTLS.mode",
)

// notRead is read only after initialisation.
var notRead = map[string]reason{
	"HTTPMatchRequest.stat_prefix":               notYet("statistics prefixes"),
	"HTTPFaultInjection.Delay.exponential_delay": {verdict.NotActedOn, "exponential delays are not implemented by Istio either; use fixedDelay"},
	"HTTPFaultInjection.Abort.http2_error":       {verdict.NotActedOn, "http2Error is not implemented by Istio either; use httpStatus or grpcStatus"},
	"L4MatchAttributes.source_subnet":            {verdict.NotActedOn, "sourceSubnet is not implemented by Istio either"},
	"TrafficPolicy.tunnel":                       notYet("tunnels"),
	"LoadBalancerSettings.zone_aware_lb_setting": {verdict.Unsupported, "zone-aware balancing is not supported yet; localityLbSetting keeps requests near by priorities"},
	"OutlierDetection.consecutive_errors":        {verdict.NotActedOn, "consecutiveErrors is not acted on by Istio any more; use consecutive5xxErrors"},
	"ClientTLSSettings.client_certificate":       originTLS(),
	"ClientTLSSettings.private_key":              originTLS(),
	"ClientTLSSettings.ca_certificates":          originTLS(),
	"ClientTLSSettings.credential_name":          originTLS(),
	"ClientTLSSettings.insecure_skip_verify":     originTLS(),
	"ClientTLSSettings.ca_crl":                   originTLS(),
	"Port.target_port":                           {verdict.NotActedOn, "targetPort has no meaning for a gateway's server"},
	"Server.default_endpoint":                    {verdict.NotActedOn, "defaultEndpoint is not implemented by Istio either"},
	"ServerTLSSettings.server_certificate":       gatewayFile(),
	"ServerTLSSettings.private_key":              gatewayFile(),
	"ServerTLSSettings.ca_certificates":          gatewayFile(),
	"ServerTLSSettings.ca_crl":                   gatewayFile(),
	"ServerTLSSettings.tls_certificates":         gatewayFile(),
	"WorkloadEntry.network":                      notYet("several networks: the address is called directly"),
	"Sidecar.inbound_connection_pool":            notYet("limits of inbound connections"),
	"IstioIngressListener.connection_pool":       notYet("limits of inbound connections"),
	"IstioIngressListener.bind":                  {verdict.NotActedOn, "not acted on yet: the port is taken at all addresses of the workload"},
	"IstioIngressListener.capture_mode":          {verdict.NotActedOn, "not acted on: connections reach the sidecar as the workload's interception mode says"},
	"IstioIngressListener.tls":                   notYet("TLS of the workload's own at its sidecar"),
	"IstioEgressListener.bind":                   {verdict.NotActedOn, "not acted on yet: the hosts are called by their own names and addresses"},
	"IstioEgressListener.capture_mode":           {verdict.NotActedOn, "not acted on: calls reach the sidecar as the workload's interception mode says"},
	"SidecarPort.target_port":                    {verdict.NotActedOn, "targetPort has no meaning for a sidecar's listener"},
	"OutboundTrafficPolicy.egress_proxy":         notYet("an egress gateway for unknown hosts"),
}

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

func notYet(what string) reason {
	return reason{verdict.NotActedOn, "not acted on yet: " + what}
}

func originTLS() reason {
	return reason{verdict.Unsupported, "TLS to destinations outside the mesh is not supported yet"}
}

func gatewayFile() reason {
	return reason{verdict.Unsupported, "a server's certificate is read from the Secret that credentialName names, not from files"}
}
