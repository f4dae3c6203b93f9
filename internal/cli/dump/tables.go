package dump

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// table writes rows in columns of even width.
func table(w io.Writer, head string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 5, ' ', 0)
	fmt.Fprintln(t, strings.ReplaceAll(head, "|", "\t"))
	for _, r := range rows {
		for i := range r {
			r[i] = cmp.Or(r[i], "-")
		}
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

// WriteClusters prints clusters as `istioctl proxy-config cluster` does.
func (c *Config) WriteClusters(w io.Writer) error {
	var rows [][]string
	for _, x := range c.Clusters {
		kind := x.GetType().String()
		direction, port, subset, host := splitCluster(x.GetName())
		rows = append(rows, []string{host, port, subset, direction, kind, origin(x.GetMetadata())})
	}
	slices.SortFunc(rows, compareRows)
	return table(w, "SERVICE FQDN|PORT|SUBSET|DIRECTION|TYPE|DESTINATION RULE", rows)
}

// splitCluster takes "outbound|9080|v1|reviews.default.svc.cluster.local" apart;
// other names are their own host.
func splitCluster(name string) (direction, port, subset, host string) {
	p := strings.SplitN(name, "|", 4)
	if len(p) != 4 {
		return "", "", "", name
	}
	return p[0], p[1], p[2], p[3]
}

func compareRows(a, b []string) int { return slices.Compare(a, b) }

// WriteListeners prints listeners and what each of their chains leads to.
func (c *Config) WriteListeners(w io.Writer) error {
	var rows [][]string
	for _, l := range c.Listeners {
		addr, port := socketAddress(l.GetAddress())
		for _, fc := range l.GetFilterChains() {
			rows = append(rows, []string{addr, port, chainMatch(fc.GetFilterChainMatch()), chainTarget(fc)})
		}
		if fc := l.GetDefaultFilterChain(); fc != nil {
			rows = append(rows, []string{addr, port, "ALL", chainTarget(fc)})
		}
	}
	slices.SortStableFunc(rows, func(a, b []string) int {
		x, _ := strconv.Atoi(a[1])
		y, _ := strconv.Atoi(b[1])
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(a[0], b[0]))
	})
	return table(w, "ADDRESSES|PORT|MATCH|DESTINATION", rows)
}

func socketAddress(a *corev3.Address) (addr, port string) {
	s := a.GetSocketAddress()
	return s.GetAddress(), strconv.Itoa(int(s.GetPortValue()))
}

func chainMatch(m *listenerv3.FilterChainMatch) string {
	var parts []string
	if len(m.GetServerNames()) > 0 {
		parts = append(parts, "SNI: "+strings.Join(m.GetServerNames(), ","))
	}
	if t := m.GetTransportProtocol(); t != "" {
		parts = append(parts, "Trans: "+t)
	}
	if len(m.GetApplicationProtocols()) > 0 {
		parts = append(parts, "App: "+strings.Join(m.GetApplicationProtocols(), ","))
	}
	if p := m.GetDestinationPort().GetValue(); p != 0 {
		parts = append(parts, "Addr: *:"+strconv.Itoa(int(p)))
	}
	for _, r := range m.GetPrefixRanges() {
		parts = append(parts, fmt.Sprintf("Addr: %s/%d", r.GetAddressPrefix(), r.GetPrefixLen().GetValue()))
	}
	if len(parts) == 0 {
		return "ALL"
	}
	return strings.Join(parts, "; ")
}

// chainTarget tells where the chain's last filter sends: a route table, an inline
// one, or a cluster.
func chainTarget(fc *listenerv3.FilterChain) string {
	for _, f := range slices.Backward(fc.GetFilters()) {
		m, err := f.GetTypedConfig().UnmarshalNew()
		if err != nil {
			continue // another filter of the chain
		}
		switch x := m.(type) {
		case *hcmv3.HttpConnectionManager:
			if rds := x.GetRds(); rds != nil {
				return "Route: " + rds.GetRouteConfigName()
			}
			return "Inline Route: " + inlineRoutes(x.GetRouteConfig())
		case *tcpv3.TcpProxy:
			return "Cluster: " + cmp.Or(x.GetCluster(), weighted(x))
		}
	}
	return "Non-HTTP/Non-TCP"
}

func inlineRoutes(rc *routev3.RouteConfiguration) string {
	var all []string
	for _, vh := range rc.GetVirtualHosts() {
		for _, r := range vh.GetRoutes() {
			all = append(all, matchText(r.GetMatch()))
		}
	}
	return strings.Join(all, ", ")
}

func weighted(x *tcpv3.TcpProxy) string {
	var all []string
	for _, c := range x.GetWeightedClusters().GetClusters() {
		all = append(all, fmt.Sprintf("%s (%d)", c.GetName(), c.GetWeight()))
	}
	return strings.Join(all, ", ")
}

// WriteRoutes prints one line per route.
func (c *Config) WriteRoutes(w io.Writer) error {
	var rows [][]string
	for _, rc := range slices.Concat(c.Routes, c.Inline) {
		for _, vh := range rc.GetVirtualHosts() {
			domains := strings.Join(vh.GetDomains()[:min(2, len(vh.GetDomains()))], ", ")
			if n := len(vh.GetDomains()) - 2; n > 0 {
				domains += fmt.Sprintf(" + %d more...", n)
			}
			for _, r := range vh.GetRoutes() {
				rows = append(rows, []string{rc.GetName(), vh.GetName(), domains, matchText(r.GetMatch()), origin(r.GetMetadata())})
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b []string) int { return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1])) })
	return table(w, "NAME|VHOST NAME|DOMAINS|MATCH|VIRTUAL SERVICE", rows)
}

func matchText(m *routev3.RouteMatch) string {
	path := ""
	switch {
	case m.GetPath() != "":
		path = m.GetPath()
	case m.GetSafeRegex() != nil:
		path = "regex " + m.GetSafeRegex().GetRegex()
	case m.GetPathSeparatedPrefix() != "":
		path = m.GetPathSeparatedPrefix() + "/*"
	default:
		path = m.GetPrefix() + "*"
	}
	for _, h := range m.GetHeaders() {
		path += " " + headerText(h)
	}
	for _, q := range m.GetQueryParameters() {
		path += " ?" + q.GetName() + stringText(q.GetStringMatch())
	}
	return path
}

func headerText(h *routev3.HeaderMatcher) string {
	text := h.GetName()
	if s := h.GetStringMatch(); s != nil {
		text += stringText(s)
	}
	if h.GetInvertMatch() {
		return "!(" + text + ")"
	}
	return text
}

// stringText gives "=exact", "=prefix*", "=*suffix" or "~regex"; "" for any value.
func stringText(s *matcherv3.StringMatcher) string {
	switch m := s.GetMatchPattern().(type) {
	case *matcherv3.StringMatcher_Exact:
		return "=" + m.Exact
	case *matcherv3.StringMatcher_Prefix:
		return "=" + m.Prefix + "*"
	case *matcherv3.StringMatcher_Suffix:
		return "=*" + m.Suffix
	case *matcherv3.StringMatcher_Contains:
		return "=*" + m.Contains + "*"
	case *matcherv3.StringMatcher_SafeRegex:
		return "~" + m.SafeRegex.GetRegex()
	}
	return ""
}
