package config

import (
	"strings"
	"testing"

	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

func TestAccessErrors(t *testing.T) {
	perm := func(p string) string {
		return `{"rules":{"policies":{"p":{"permissions":[{"any":true},` + p + `],"principals":[{"any":true}]}}}}`
	}
	who := func(p string) string {
		return `{"shadow_rules":{"policies":{"p":{"permissions":[{"any":true}],"principals":[` + p + `]}}}}`
	}
	template := func(v string) string {
		return perm(`{"uri_template":{"name":"x","typed_config":{"@type":"` + typePrefix + `envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig","path_template":"` + v + `"}}}`)
	}
	for _, tt := range []struct{ name, json, want string }{
		{"no permission", `{"rules":{"policies":{"p":{"principals":[{"any":true}]}}}}`, `rules.policies.p.permissions: is empty`},
		{"no principal", `{"rules":{"policies":{"p":{"permissions":[{"any":true}]}}}}`, `rules.policies.p.principals: is empty`},
		{"empty permission", perm(`{}`), `rules.policies.p.permissions[1]: has no rule`},
		{"empty principal", who(`{}`), `shadow_rules.policies.p.principals[0]: has no identifier`},
		{"empty set", perm(`{"and_rules":{}}`), `permissions[1].and_rules.rules: is empty`},
		{"any false", perm(`{"any":false}`), `permissions[1].any: must be true`},
		{"matcher", perm(`{"matcher":{"name":"x"}}`), `permissions[1].matcher: is not supported`},
		{"port", perm(`{"destination_port":65536}`), `permissions[1].destination_port: port 65536`},
		{"port range", perm(`{"destination_port_range":{"start":5,"end":5}}`), `destination_port_range: [5, 5) is not a range`},
		{"address", perm(`{"destination_ip":{"address_prefix":"10.0.0"}}`), `destination_ip[0]: `},
		{"prefix length", who(`{"remote_ip":{"address_prefix":"10.0.0.0","prefix_len":33}}`), `prefix length 33 is too long`},
		{"pattern", perm(`{"url_path":{"path":{"safe_regex":{"regex":"a)(b"}}}}`), `url_path.path.safe_regex.regex: error parsing`},
		{"empty text", who(`{"authenticated":{"principal_name":{}}}`), `authenticated.principal_name: has no pattern`},
		{"header name", perm(`{"header":{"name":"a b","exact_match":"a"}}`), `permissions[1].header.name: "a b" is not a header name`},
		{"nested", perm(`{"not_rule":{"or_rules":{"rules":[{"destination_port":70000}]}}}`), `permissions[1].not_rule.or_rules.rules[0].destination_port`},
		{"filter state", who(`{"filter_state":{"key":"x","string_match":{"exact":"a"}}}`), `principals[0].filter_state.key: "x" is not supported`},
		{"address state", who(`{"filter_state":{"key":"io.istio.peer_principal","address_match":{}}}`), `filter_state.address_match: is not supported`},
		{"custom", who(`{"custom":{"name":"x"}}`), `principals[0].custom: is not supported`},
		{"route metadata", who(`{"sourced_metadata":{"metadata_matcher":{"filter":"f"},"metadata_source":"ROUTE"}}`), `metadata_source: ROUTE is not supported`},
		{"metadata path", who(`{"metadata":{"filter":"f","value":{"null_match":{}}}}`), `metadata.path: is empty`},
		{"metadata value", who(`{"metadata":{"filter":"f","path":[{"key":"k"}]}}`), `metadata.value: has no pattern`},
		{"number", who(`{"metadata":{"filter":"f","path":[{"key":"k"}],"value":{"double_match":{"range":{"start":2,"end":1}}}}}`), `double_match.range: [2, 1) is empty`},
		{"condition", `{"rules":{"policies":{"p":{"permissions":[{"any":true}],"principals":[{"any":true}],"condition":{"id":"1"}}}}}`, `rules.policies.p.condition: is not supported`},
		{"audit", `{"rules":{"audit_logging_options":{}}}`, `rules.audit_logging_options: is not supported`},
		{"generic matcher", `{"matcher":{}}`, `matcher: is not supported`},
		{"template without slash", template("a/*"), `path_template: "a/*" does not begin with a slash`},
		{"template after **", template("/**/*"), `an operator follows **`},
		{"template mixed", template("/a*"), `segment "a*" mixes text and operators`},
		{"template unclosed", template("/{a"), `segment "{a" mixes`},
		{"template unknown", template("/{a=b}"), `segment "{a=b}" mixes`},
		{"deep", perm(strings.Repeat(`{"not_rule":`, 70) + `{"any":true}` + strings.Repeat(`}`, 70)), `lies more than 64 levels deep`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			raw, err := proto.Marshal(fromJSON(t, tt.json, &httprbacv3.RBAC{}))
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseHTTPAccess(raw)
			if err == nil || !strings.HasPrefix(err.Error(), `filter "envoy.filters.http.rbac": `) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestNetworkAccessErrors(t *testing.T) {
	for _, tt := range []struct{ name, json, want string }{
		{"no prefix", `{}`, `stat_prefix: is empty`},
		{"delay", `{"stat_prefix":"tcp.","delay_deny":"1s"}`, `delay_deny: is not supported`},
		{"header", `{"stat_prefix":"tcp.","rules":{"policies":{"p":{"permissions":[{"not_rule":{"header":{"name":"a"}}}],"principals":[{"any":true}]}}}}`, `rules.policies.p: a connection has no headers`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, err := anypb.New(fromJSON(t, tt.json, &networkrbacv3.RBAC{}))
			if err != nil {
				t.Fatal(err)
			}
			s := root("listener", "l")
			e, err := unwrap(s, a)
			if err != nil {
				t.Fatal(err)
			}
			if _, err = networkAccess(s, e); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

// TestAccessIsSimplified: a list of one is that one, and policies are sorted.
func TestAccessIsSimplified(t *testing.T) {
	raw, err := proto.Marshal(fromJSON(t, `{"rules":{"action":"DENY","policies":{
 "b":{"permissions":[{"and_rules":{"rules":[{"or_rules":{"rules":[{"url_path":{"path":{"safe_regex":{"regex":".*/ns/a/.*"}}}}]}}]}}],"principals":[{"any":true}]},
 "a":{"permissions":[{"any":true},{"destination_port":80}],"principals":[{"any":true}]}}}}`, &httprbacv3.RBAC{}))
	if err != nil {
		t.Fatal(err)
	}
	a, err := ParseHTTPAccess(raw)
	if err != nil {
		t.Fatal(err)
	}
	p := a.Rules.Policies
	if len(p) != 2 || p[0].Name != "a" || p[0].Permissions.Kind != CondAny || len(p[0].Permissions.Parts) != 2 || a.Rules.Action != ActionDeny {
		t.Errorf("%+v", a.Rules)
	}
	if c := p[1].Permissions; c.Kind != CondPath || c.Text.Plain == nil || c.Text.Plain.Kind != StringContains || c.Text.Plain.Value != "/ns/a/" {
		t.Errorf("%+v", c)
	}
}
