package build

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

// maxBody bounds the bodies of direct responses, as Istio sets it.
const maxBody = 1 << 20

func routeTable(t *ir.Table) *routev3.RouteConfiguration {
	out := &routev3.RouteConfiguration{
		Name:                           t.Name,
		ValidateClusters:               wrapperspb.Bool(false),
		MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(maxBody),
		IgnorePortInHostMatching:       true,
	}
	for i := range t.Hosts {
		out.VirtualHosts = append(out.VirtualHosts, virtualHost(&t.Hosts[i]))
	}
	return out
}

func virtualHost(h *ir.VirtualHost) *routev3.VirtualHost {
	out := &routev3.VirtualHost{Name: h.Name, Domains: h.Domains, IncludeRequestAttemptCount: !h.NoAttemptCount}
	if h.RequireTLS {
		out.RequireTls = routev3.VirtualHost_ALL
	}
	for i := range h.Routes {
		r := route(&h.Routes[i])
		if to := r.GetRoute(); to != nil {
			to.AppendXForwardedHost = h.ForwardedHost
		}
		out.Routes = append(out.Routes, r)
	}
	return out
}

func route(r *ir.Route) *routev3.Route {
	out := &routev3.Route{
		Name:                    r.Name,
		Match:                   routeMatch(&r.Match),
		Metadata:                ruleMetadata(r.Origin.Ref, ""),
		RequestHeadersToAdd:     headersToAdd(&r.Request),
		RequestHeadersToRemove:  r.Request.Remove,
		ResponseHeadersToAdd:    headersToAdd(&r.Response),
		ResponseHeadersToRemove: r.Response.Remove,
	}
	if r.Operation != "" {
		out.Decorator = &routev3.Decorator{Operation: r.Operation}
	}
	if r.Fault != nil || r.CORS != nil {
		out.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	if r.Fault != nil {
		out.TypedPerFilterConfig[faultName] = fault(r.Fault)
	}
	if r.CORS != nil {
		out.TypedPerFilterConfig[corsName] = cors(r.CORS)
	}
	switch {
	case r.Redirect != nil:
		out.Action = &routev3.Route_Redirect{Redirect: redirect(r.Redirect)}
	case r.Direct != nil:
		d := &routev3.DirectResponseAction{Status: r.Direct.Status}
		if r.Direct.Body != "" {
			d.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: r.Direct.Body}}
		}
		out.Action = &routev3.Route_DirectResponse{DirectResponse: d}
		out.Metadata = ruleMetadata(r.Origin.Ref, r.Reason)
	default:
		out.Action = &routev3.Route_Route{Route: forward(r)}
	}
	return out
}

func forward(r *ir.Route) *routev3.RouteAction {
	out := &routev3.RouteAction{
		Timeout:     durationpb.New(r.Timeout),
		RetryPolicy: retryPolicy(r.Retry),
		HashPolicy:  hashPolicies(r.Hash),
		//nolint:staticcheck // Istio sends it; it switches the limit by grpc-timeout off
		MaxGrpcTimeout: durationpb.New(r.Timeout),
	}
	if r.Unusable {
		out.ClusterNotFoundResponseCode = routev3.RouteAction_INTERNAL_SERVER_ERROR
	}
	if len(r.Clusters) == 1 && r.Clusters[0].Request.IsZero() && r.Clusters[0].Response.IsZero() {
		out.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: r.Clusters[0].Cluster.String()}
	} else {
		out.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: weightedClusters(r.Clusters)}
	}
	if rw := r.Rewrite; rw != nil {
		out.PrefixRewrite = rw.Path
		if rw.Regex != "" {
			out.RegexRewrite = substitute(rw.Regex, rw.Subst)
		}
		if rw.Host != "" {
			out.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: rw.Host}
		}
	}
	for i := range r.Mirrors {
		out.RequestMirrorPolicies = append(out.RequestMirrorPolicies, &routev3.RouteAction_RequestMirrorPolicy{
			Cluster:                       r.Mirrors[i].Cluster.String(),
			RuntimeFraction:               &corev3.RuntimeFractionalPercent{DefaultValue: perMillion(r.Mirrors[i].Percent)},
			TraceSampled:                  wrapperspb.Bool(false),
			DisableShadowHostSuffixAppend: true,
		})
	}
	return out
}

func substitute(regex, by string) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: regex}, Substitution: by}
}

func weightedClusters(list []ir.WeightedCluster) *routev3.WeightedCluster {
	out := &routev3.WeightedCluster{}
	for i := range list {
		w := &list[i]
		out.Clusters = append(out.Clusters, &routev3.WeightedCluster_ClusterWeight{
			Name:                    w.Cluster.String(),
			Weight:                  wrapperspb.UInt32(w.Weight),
			RequestHeadersToAdd:     headersToAdd(&w.Request),
			RequestHeadersToRemove:  w.Request.Remove,
			ResponseHeadersToAdd:    headersToAdd(&w.Response),
			ResponseHeadersToRemove: w.Response.Remove,
		})
	}
	return out
}

func redirect(r *ir.Redirect) *routev3.RedirectAction {
	out := &routev3.RedirectAction{HostRedirect: r.Host, PortRedirect: r.Port, ResponseCode: redirectCodes[r.Status]}
	if r.Scheme != "" {
		out.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: r.Scheme}
	}
	switch {
	case r.Regex != "":
		out.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: substitute(r.Regex, r.Subst)}
	case r.Prefix != "":
		out.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: r.Prefix}
	case r.Path != "":
		out.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: r.Path}
	}
	return out
}

var redirectCodes = map[uint32]routev3.RedirectAction_RedirectResponseCode{
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

// headersToAdd sets before it adds; Envoy removes after both.
func headersToAdd(ops *ir.HeaderOps) []*corev3.HeaderValueOption {
	var out []*corev3.HeaderValueOption
	for _, h := range ops.Set {
		out = append(out, &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: h.Name, Value: h.Value},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		})
	}
	for _, h := range ops.Add {
		out = append(out, &corev3.HeaderValueOption{Header: &corev3.HeaderValue{Key: h.Name, Value: h.Value}})
	}
	return out
}
