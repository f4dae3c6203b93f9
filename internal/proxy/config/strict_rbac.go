package config

// rbacFields: what is not listed here (CEL conditions, matcher extensions, audit
// loggers, delays before a denied connection closes) is refused. Enforcement of a
// network filter may be repeated with every read without effect: what it looks at
// does not change while a connection lives.
var rbacFields = table{
	"envoy.extensions.filters.http.rbac.v3.RBAC": has(
		`rules rules_stat_prefix shadow_rules shadow_rules_stat_prefix`, ``, `track_per_rule_stats`),
	"envoy.extensions.filters.http.rbac.v3.RBACPerRoute": has(`rbac`, ``, ``),
	"envoy.extensions.filters.network.rbac.v3.RBAC": has(
		`rules shadow_rules shadow_rules_stat_prefix stat_prefix`, ``, `enforcement_type`),
	"envoy.config.rbac.v3.RBAC":           has(`action policies`, ``, ``),
	"envoy.config.rbac.v3.Policy":         has(`permissions principals`, ``, ``),
	"envoy.config.rbac.v3.Permission.Set": has(`rules`, ``, ``),
	"envoy.config.rbac.v3.Permission": has(
		`and_rules or_rules any header url_path destination_ip destination_port destination_port_range metadata not_rule
		requested_server_name uri_template sourced_metadata`, ``, ``),
	"envoy.config.rbac.v3.Principal.Set": has(`ids`, ``, ``),
	"envoy.config.rbac.v3.Principal": has(
		`and_ids or_ids any authenticated source_ip direct_remote_ip remote_ip header url_path metadata filter_state not_id
		sourced_metadata`, ``, ``),
	"envoy.config.rbac.v3.Principal.Authenticated":                       has(`principal_name`, ``, ``),
	"envoy.config.rbac.v3.SourcedMetadata":                               has(`metadata_matcher metadata_source`, ``, ``),
	"envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig": has(`path_template`, ``, ``),
	"envoy.config.core.v3.TypedExtensionConfig":                          has(`name`, `typed_config`, ``),
	"envoy.type.matcher.v3.PathMatcher":                                  has(`path`, ``, ``),
	"envoy.type.matcher.v3.FilterStateMatcher":                           has(`key string_match`, ``, ``),
	"envoy.type.matcher.v3.MetadataMatcher":                              has(`filter path value invert`, ``, ``),
	"envoy.type.matcher.v3.MetadataMatcher.PathSegment":                  has(`key`, ``, ``),
	"envoy.type.matcher.v3.ValueMatcher":                                 has(`null_match double_match string_match bool_match present_match list_match or_match`, ``, ``),
	"envoy.type.matcher.v3.ValueMatcher.NullMatch":                       has(``, ``, ``),
	"envoy.type.matcher.v3.DoubleMatcher":                                has(`range exact`, ``, ``),
	"envoy.type.matcher.v3.ListMatcher":                                  has(`one_of`, ``, ``),
	"envoy.type.matcher.v3.OrMatcher":                                    has(`value_matchers`, ``, ``),
	"envoy.type.v3.DoubleRange":                                          has(`start end`, ``, ``),
}
