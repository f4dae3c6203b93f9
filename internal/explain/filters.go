package explain

import (
	"fmt"
	"strings"

	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// described is a filter that only tells what its configuration does. It keeps the
// proxy's filters, and all that they need at run time, out of this package.
type described struct {
	name, url string
	tell      func(value []byte) (string, error) // nil: nothing to tell
}

// setting is a described filter's configuration: what it does, "" for nothing.
type setting string

func filters() []config.FilterBuilder {
	const prefix = "type.googleapis.com/"
	return []config.FilterBuilder{
		described{name: "istio.metadata_exchange", url: prefix + "io.istio.http.peer_metadata.Config"},
		described{name: "envoy.filters.http.grpc_stats", url: prefix + "envoy.extensions.filters.http.grpc_stats.v3.FilterConfig"},
		described{name: "istio.alpn", url: prefix + "istio.envoy.config.filter.http.alpn.v2alpha1.FilterConfig"},
		described{name: "envoy.filters.http.fault", url: prefix + "envoy.extensions.filters.http.fault.v3.HTTPFault", tell: tellFault},
		described{name: "envoy.filters.http.cors", url: prefix + "envoy.extensions.filters.http.cors.v3.Cors"},
		described{name: "envoy.filters.http.router", url: prefix + "envoy.extensions.filters.http.router.v3.Router"},
	}
}

func (d described) Name() string       { return d.name }
func (d described) TypeURLs() []string { return []string{d.url} }

func (d described) Parse(_ string, value []byte) (any, error) { return d.setting(value) }

func (d described) ParseOverride(_ string, value []byte) (any, error) {
	s, err := d.setting(value)
	if s == "" && err == nil && d.tell == nil {
		s = setting("has settings of its own for filter " + d.name)
	}
	return s, err
}

func (d described) setting(value []byte) (setting, error) {
	if d.tell == nil {
		return "", nil
	}
	text, err := d.tell(value)
	return setting(text), err
}

// New is never called: nothing runs here.
func (d described) New(any, int) (stream.Filter, error) {
	return nil, fmt.Errorf("filter %s is only described here", d.name)
}

// tellFault puts fault injection into words.
func tellFault(value []byte) (string, error) {
	m := &faultv3.HTTPFault{}
	if err := proto.Unmarshal(value, m); err != nil {
		return "", err
	}
	var parts []string
	if d := m.GetDelay(); d.GetFixedDelay() != nil {
		parts = append(parts, fmt.Sprintf("delays %s of requests by %s", share(d.GetPercentage()), d.GetFixedDelay().AsDuration()))
	}
	if a := m.GetAbort(); a.GetHttpStatus() != 0 {
		parts = append(parts, fmt.Sprintf("answers %s of requests with status %d (injected fault)", share(a.GetPercentage()), a.GetHttpStatus()))
	}
	return strings.Join(parts, " and "), nil
}

func share(p *typev3.FractionalPercent) string {
	whole := 100.0
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		whole = 10_000
	case typev3.FractionalPercent_MILLION:
		whole = 1_000_000
	}
	return number(float64(p.GetNumerator())*100/whole) + " %"
}
