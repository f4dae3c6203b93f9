package istioapi

import "github.com/lateen-mesh/lateen/internal/verdict"

// The fields of MeshConfig stand in one of three tables, or in those of the kinds
// for the messages that both use.

// meshRead holds the fields of MeshConfig that act by way of mesh.Settings; read
// only after initialisation.
var meshRead = set(
	"MeshConfig.trust_domain", "MeshConfig.root_namespace",
	"MeshConfig.default_service_export_to", "MeshConfig.default_virtual_service_export_to", "MeshConfig.default_destination_rule_export_to",
	"MeshConfig.connect_timeout", "MeshConfig.tcp_keepalive", "MeshConfig.enable_auto_mtls",
	"MeshConfig.default_http_retry_policy", "MeshConfig.default_traffic_policy", "MeshConfig.locality_lb_setting",
	"MeshConfig.DefaultTrafficPolicy.connection_pool", "MeshConfig.DefaultTrafficPolicy.outlier_detection",
	"MeshConfig.path_normalization", "MeshConfig.protocol_detection_timeout", "MeshConfig.default_config",
	"MeshConfig.ProxyPathNormalization.normalization", "ProxyConfig.proxy_headers",
	"ProxyConfig.ProxyHeaders.forwarded_client_cert", "ProxyConfig.ProxyHeaders.set_current_client_cert_details", "ProxyConfig.ProxyHeaders.request_id", "ProxyConfig.ProxyHeaders.server",
	"ProxyConfig.ProxyHeaders.attempt_count", "ProxyConfig.ProxyHeaders.envoy_debug_headers",
	"ProxyConfig.ProxyHeaders.preserve_http1_header_case", "ProxyConfig.ProxyHeaders.x_forwarded_host", "ProxyConfig.ProxyHeaders.x_forwarded_port",
	"ProxyConfig.ProxyHeaders.Server.disabled", "ProxyConfig.ProxyHeaders.Server.value", "ProxyConfig.ProxyHeaders.RequestId.disabled", "ProxyConfig.ProxyHeaders.AttemptCount.disabled",
	"ProxyConfig.ProxyHeaders.EnvoyDebugHeaders.disabled", "ProxyConfig.ProxyHeaders.XForwardedHost.enabled", "ProxyConfig.ProxyHeaders.XForwardedPort.enabled",
	"ProxyConfig.ProxyHeaders.SetCurrentClientCertDetails.subject", "ProxyConfig.ProxyHeaders.SetCurrentClientCertDetails.cert",
	"ProxyConfig.ProxyHeaders.SetCurrentClientCertDetails.dns", "ProxyConfig.ProxyHeaders.SetCurrentClientCertDetails.uri",
	"ProxyConfig.gateway_topology", "Topology.num_trusted_proxies", "Topology.forward_client_cert_details", "Topology.proxy_protocol",
	"MeshConfig.outbound_traffic_policy", "MeshConfig.OutboundTrafficPolicy.mode", "MeshConfig.dns_refresh_rate",
)

// meshElsewhere holds the fields that others than this package act on, on
// Kubernetes only: the injector (defaultConfig), the agent of a pod
// (defaultConfig), the authority, and the source that chooses namespaces.
var meshElsewhere = set(
	"MeshConfig.trust_domain_aliases", "MeshConfig.ca_certificates", "MeshConfig.discovery_selectors",
	"MeshConfig.enable_prometheus_merge", "MeshConfig.proxy_listen_port", "MeshConfig.proxy_inbound_listen_port",
	"MeshConfig.CertificateData.pem", "MeshConfig.CertificateData.cert_signers", "MeshConfig.CertificateData.trust_domains",
	"LabelSelector.matchLabels", "LabelSelector.matchExpressions",
	"LabelSelectorRequirement.key", "LabelSelectorRequirement.operator", "LabelSelectorRequirement.values",
	"ProxyConfig.binary_path", "ProxyConfig.config_path", "ProxyConfig.service_cluster", "ProxyConfig.drain_duration",
	"ProxyConfig.discovery_address", "ProxyConfig.proxy_admin_port", "ProxyConfig.concurrency", "ProxyConfig.interception_mode",
	"ProxyConfig.proxy_metadata", "ProxyConfig.status_port", "ProxyConfig.termination_drain_duration", "ProxyConfig.mesh_id",
	"ProxyConfig.readiness_probe", "ProxyConfig.hold_application_until_proxy_starts", "ProxyConfig.image",
	"ReadinessProbe.initial_delay_seconds", "ReadinessProbe.timeout_seconds", "ReadinessProbe.period_seconds", "ReadinessProbe.success_threshold",
	"ReadinessProbe.failure_threshold", "ReadinessProbe.http_get", "ReadinessProbe.tcp_socket", "ReadinessProbe.exec", "ReadinessProbe.grpc",
	"HTTPHealthCheckConfig.path", "HTTPHealthCheckConfig.port", "HTTPHealthCheckConfig.host", "HTTPHealthCheckConfig.scheme", "HTTPHealthCheckConfig.http_headers",
	"HTTPHeader.name", "HTTPHeader.value", "TCPHealthCheckConfig.host", "TCPHealthCheckConfig.port", "ExecHealthCheckConfig.command",
	"GrpcHealthCheckConfig.port", "GrpcHealthCheckConfig.service",
	"ProxyImage.image_type",
)

// meshNotRead holds the fields that yield a verdict where they are set. Some of them
// are in mesh.Settings all the same: whoever makes one of those act moves it.
var meshNotRead = map[string]reason{
	"MeshConfig.h2_upgrade_policy": notYet("an upgrade to HTTP/2 for the whole mesh"),

	"MeshConfig.OutboundTrafficPolicy.tls":         notYet("TLS to unknown hosts"),
	"MeshConfig.proxy_http_port":                   notYet("a listener for HTTP proxies"),
	"MeshConfig.hbone_idle_timeout":                notYet("HBONE"),
	"MeshConfig.ingress_class":                     ingress(),
	"MeshConfig.ingress_service":                   ingress(),
	"MeshConfig.ingress_controller_mode":           ingress(),
	"MeshConfig.ingress_selector":                  ingress(),
	"MeshConfig.enable_tracing":                    notYet("tracing"),
	"MeshConfig.access_log_file":                   notYet("the place of access logs"),
	"MeshConfig.access_log_format":                 notYet("the form of access logs"),
	"MeshConfig.access_log_encoding":               notYet("the form of access logs"),
	"MeshConfig.enable_envoy_access_log_service":   notYet("access-log services"),
	"MeshConfig.disable_envoy_listener_log":        notYet("access logs of listeners"),
	"MeshConfig.inbound_traffic_policy":            {verdict.NotActedOn, "not acted on yet: inbound connections reach the address that they were sent to, as with PASSTHROUGH"},
	"MeshConfig.config_sources":                    notYet("other sources of configuration"),
	"MeshConfig.zone_aware_lb_setting":             {verdict.Unsupported, "zone-aware balancing is not supported yet; localityLbSetting keeps requests near by priorities"},
	"MeshConfig.inbound_cluster_stat_name":         notYet("names of statistics"),
	"MeshConfig.outbound_cluster_stat_name":        notYet("names of statistics"),
	"MeshConfig.certificates":                      {verdict.NotActedOn, "certificates is not acted on by Istio any more"},
	"MeshConfig.service_settings":                  notYet("several clusters"),
	"MeshConfig.service_scope_configs":             notYet("several clusters"),
	"MeshConfig.verify_certificate_at_client":      {verdict.NotActedOn, "verifyCertificateAtClient is deprecated: certificates are always verified where they are verified at all"},
	"MeshConfig.ca":                                notYet("an authority that the configuration names"),
	"MeshConfig.extension_providers":               notYet("extension providers"),
	"MeshConfig.default_providers":                 notYet("extension providers"),
	"MeshConfig.mesh_mTLS":                         notYet("versions and ciphers of mTLS"),
	"MeshConfig.tls_defaults":                      notYet("versions and ciphers of TLS"),
	"MeshConfig.service_entry_visibility":          notYet("the visibility of ServiceEntries beyond exportTo"),
	"MeshConfig.CertificateData.spiffe_bundle_url": notYet("trust bundles by URL"),

	"ProxyConfig.ProxyHeaders.metadata_exchange_headers":         {verdict.NotActedOn, "metadata goes to every host that is called, as without the field"},
	"ProxyConfig.ProxyHeaders.SetCurrentClientCertDetails.chain": notYet("whole chains of clients' certificates"),
	"ProxyConfig.tracing_service_name":                           notYet("tracing"),
	"ProxyConfig.tracing":                                        notYet("tracing"),
	"ProxyConfig.zipkin_address":                                 notYet("tracing"),
	"ProxyConfig.discovery_refresh_delay":                        {verdict.NotActedOn, "discoveryRefreshDelay is deprecated: configuration is pushed"},
	"ProxyConfig.statsd_udp_address":                             notYet("statsd"),
	"ProxyConfig.envoy_metrics_service_address":                  notYet("metrics services"),
	"ProxyConfig.envoy_metrics_service":                          notYet("metrics services"),
	"ProxyConfig.envoy_access_log_service":                       notYet("access-log services"),
	"ProxyConfig.availability_zone":                              {verdict.NotActedOn, "availabilityZone is deprecated: the zone comes from the node"},
	"ProxyConfig.control_plane_auth_policy":                      {verdict.NotActedOn, "proxies always speak mTLS with the control plane"},
	"ProxyConfig.custom_config_file":                             bootstrap(),
	"ProxyConfig.proxy_bootstrap_template_path":                  bootstrap(),
	"ProxyConfig.runtime_values":                                 bootstrap(),
	"ProxyConfig.stat_name_length":                               {verdict.NotActedOn, "names of statistics have no limit"},
	"ProxyConfig.sds":                                            {verdict.NotActedOn, "sds is deprecated: secrets always come that way"},
	"ProxyConfig.extra_stat_tags":                                notYet("further labels of statistics"),
	"ProxyConfig.proxy_stats_matcher":                            notYet("a choice of statistics"),
	"ProxyConfig.ca_certificates_pem":                            notYet("further roots of a proxy"),
	"ProxyConfig.private_key_provider":                           {verdict.Unsupported, "private keys are handled by the processor alone"},
	"ProxyConfig.file_flush_interval":                            notYet("the flushing of access logs"),
	"ProxyConfig.file_flush_min_size_kb":                         notYet("the flushing of access logs"),
	"ProxyConfig.stats_compression":                              notYet("compressed statistics"),
	"ProxyConfig.connection_settings":                            notYet("limits of connections"),
}

func ingress() reason {
	return reason{verdict.NotActedOn, "Kubernetes' Ingress is not acted on: use Gateway and VirtualService, or the Gateway API"}
}

func bootstrap() reason {
	return reason{verdict.NotActedOn, "the proxy's bootstrap is not made from templates"}
}

// unread finds the verdict of a field that nobody reads.
func unread(name string) (reason, bool) {
	if why, ok := notRead[name]; ok {
		return why, true
	}
	why, ok := meshNotRead[name]
	return why, ok
}
