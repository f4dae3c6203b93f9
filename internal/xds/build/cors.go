package build

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/ir"
)

const corsName = "envoy.filters.http.cors"

// cors is a route's policy for the CORS filter, in Istio's form.
func cors(c *ir.CORS) *anypb.Any {
	out := &corsv3.CorsPolicy{
		AllowMethods:                 strings.Join(c.Methods, ","),
		AllowHeaders:                 strings.Join(c.Headers, ","),
		ExposeHeaders:                strings.Join(c.Expose, ","),
		MaxAge:                       c.MaxAge,
		FilterEnabled:                &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{Numerator: 100}},
		ForwardNotMatchingPreflights: wrapperspb.Bool(!c.Ignore),
	}
	if c.Credentials {
		out.AllowCredentials = wrapperspb.Bool(true)
	}
	for i := range c.Origins {
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, stringMatch(&c.Origins[i]))
	}
	return typed(out)
}
