package dump

import (
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"

	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/types/known/anypb"
)

// policyName is the form in which Istio names the policies of an RBAC filter.
var policyName = regexp.MustCompile(`^ns\[(.+)\]-policy\[(.+)\]-rule\[(\d+)\]$`)

// WriteAuthorization prints the rules of the proxy's RBAC filters as
// `istioctl x authz check` does; a proxy without any is told in one sentence.
func (c *Config) WriteAuthorization(w io.Writer) error {
	count := map[[2]string]map[string]bool{} // rules by action and policy
	note := func(r *rbacv3.RBAC) {
		for name := range r.GetPolicies() {
			policy := name
			if m := policyName.FindStringSubmatch(name); m != nil {
				policy = m[2] + "." + m[1]
			}
			key := [2]string{r.GetAction().String(), policy}
			if count[key] == nil {
				count[key] = map[string]bool{}
			}
			count[key][name] = true
		}
	}
	for _, l := range c.Listeners {
		for _, fc := range append(slices.Clone(l.GetFilterChains()), l.GetDefaultFilterChain()) {
			for _, f := range fc.GetFilters() {
				for _, r := range rulesOf(f.GetTypedConfig()) {
					note(r)
				}
			}
		}
	}
	if len(count) == 0 {
		_, err := fmt.Fprintln(w, "The proxy has no RBAC filters: it enforces no AuthorizationPolicy.")
		return err
	}
	var rows [][]string
	for key, rules := range count {
		rows = append(rows, []string{key[0], key[1], strconv.Itoa(len(rules))})
	}
	slices.SortFunc(rows, compareRows)
	return table(w, "ACTION|AuthorizationPolicy|RULES", rows)
}

// rulesOf finds the RBAC rules of a network filter, and of the HTTP filters in it.
func rulesOf(a *anypb.Any) []*rbacv3.RBAC {
	tcp, hcm := &tcprbacv3.RBAC{}, &hcmv3.HttpConnectionManager{}
	switch {
	case a.MessageIs(tcp) && a.UnmarshalTo(tcp) == nil:
		return []*rbacv3.RBAC{tcp.GetRules()}
	case a.MessageIs(hcm) && a.UnmarshalTo(hcm) == nil:
		var out []*rbacv3.RBAC
		for _, f := range hcm.GetHttpFilters() {
			http := &httprbacv3.RBAC{}
			if f.GetTypedConfig().MessageIs(http) && f.GetTypedConfig().UnmarshalTo(http) == nil {
				out = append(out, http.GetRules())
			}
		}
		return out
	}
	return nil
}
