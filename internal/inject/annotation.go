package inject

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"istio.io/api/annotation"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// AnnotationProxy chooses the data plane of a pod, or of all pods of a namespace
// that do not choose: "native" or "envoy".
const AnnotationProxy = "lateen.dev/proxy"

// AnnotationOnDemand says "true" where a pod's own proxy holds only what its workload
// calls; the proxy reads it itself.
const AnnotationOnDemand = "lateen.dev/on-demand"

// rule is what is known of an annotation of pods.
type rule struct {
	check func(string) error // nil: any value will do
	// code and say are the verdict on a valid value; without code it is Effective.
	code verdict.Code
	say  string
}

var (
	imagePattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}$`)
	typePattern    = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	scopePattern   = regexp.MustCompile(`^[A-Za-z0-9_./-]{1,64}$`)
	namesPattern   = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,253}$`)
	networkPattern = regexp.MustCompile(`^[!-.0-~]{1,15}$`) // an interface's name: no blank, no slash
)

const (
	sayMetrics = "the proxy's own metrics have a fixed set of names, labels and buckets"
	sayAmbient = "there is no ambient mode yet"
)

// rules returns what is known of the annotations of pods.
func rules() map[string]rule {
	ports, boolean, number := rule{check: checkPorts}, rule{check: checkBool}, rule{check: checkNumber}
	quantity, level := rule{check: checkQuantity}, rule{check: checkLevels}
	metrics := rule{code: verdict.NotActedOn, say: sayMetrics}
	ambient := rule{code: verdict.NotActedOn, say: sayAmbient}
	interfaces := rule{check: checkList(networkPattern, "a network interface")}
	anyPorts := rule{check: orStar(checkPorts)}
	return map[string]rule{
		annotation.SidecarInject.Name:                             {},
		annotation.SidecarStatus.Name:                             {},
		annotation.ProxyOverrides.Name:                            {check: checkJSON},
		annotation.ProxyConfig.Name:                               {}, // read strictly where it is merged
		annotation.InjectTemplates.Name:                           {check: checkList(namesPattern, "the name of a template")},
		annotation.IoIstioRev.Name:                                {},
		annotation.IoIstioRerouteVirtualInterfaces.Name:           interfaces,
		annotation.SidecarTrafficKubevirtInterfaces.Name:          interfaces,
		annotation.SidecarTrafficExcludeInterfaces.Name:           interfaces,
		annotation.SidecarTrafficIncludeInboundPorts.Name:         anyPorts,
		annotation.SidecarTrafficExcludeInboundPorts.Name:         ports,
		annotation.SidecarTrafficIncludeOutboundPorts.Name:        anyPorts,
		annotation.SidecarTrafficExcludeOutboundPorts.Name:        ports,
		annotation.SidecarTrafficIncludeOutboundIPRanges.Name:     {check: orStar(checkRanges)},
		annotation.SidecarTrafficExcludeOutboundIPRanges.Name:     {check: checkRanges},
		annotation.SidecarInterceptionMode.Name:                   {}, // read where it is merged
		annotation.SidecarStatusPort.Name:                         {check: checkPort},
		annotation.SidecarStatusReadinessInitialDelaySeconds.Name: number,
		annotation.SidecarStatusReadinessPeriodSeconds.Name:       number,
		annotation.SidecarStatusReadinessFailureThreshold.Name:    number,
		annotation.SidecarStatusReadinessApplicationPorts.Name:    {check: checkPorts, code: verdict.NotActedOn, say: "readiness of the proxy does not ask for open ports of the application, as in Istio"},
		annotation.SidecarProxyCPU.Name:                           quantity,
		annotation.SidecarProxyCPULimit.Name:                      quantity,
		annotation.SidecarProxyMemory.Name:                        quantity,
		annotation.SidecarProxyMemoryLimit.Name:                   quantity,
		annotation.SidecarProxyImage.Name:                         {check: checkPattern(imagePattern, "an image")},
		annotation.SidecarProxyImageType.Name:                     {check: checkPattern(typePattern, "an image type")},
		annotation.SidecarLogLevel.Name:                           level,
		annotation.SidecarComponentLogLevel.Name:                  level,
		annotation.SidecarAgentLogLevel.Name:                      level,
		annotation.SidecarNativeSidecar.Name:                      boolean,
		annotation.SidecarRewriteAppHTTPProbers.Name:              boolean,
		annotation.PrometheusMergeMetrics.Name:                    boolean,
		annotation.SidecarUserVolume.Name:                         {check: checkJSON},
		annotation.SidecarUserVolumeMount.Name:                    {check: checkJSON},
		annotation.SidecarDiscoveryAddress.Name:                   {check: checkAddress},
		annotation.SidecarBootstrapOverride.Name:                  {code: verdict.Unsupported, say: "the proxy makes its bootstrap configuration itself"},
		annotation.SidecarExtraStatTags.Name:                      metrics,
		annotation.SidecarStatsInclusionPrefixes.Name:             metrics,
		annotation.SidecarStatsInclusionSuffixes.Name:             metrics,
		annotation.SidecarStatsInclusionRegexps.Name:              metrics,
		annotation.SidecarStatsHistogramBuckets.Name:              {check: checkJSON, code: verdict.NotActedOn, say: sayMetrics},
		annotation.SidecarStatsHistogramBins.Name:                 metrics,
		annotation.SidecarStatsFlushInterval.Name:                 metrics,
		annotation.SidecarStatsEvictionInterval.Name:              metrics,
		annotation.SidecarStatsCompression.Name:                   metrics,
		annotation.AmbientBypassInboundCapture.Name:               ambient,
		annotation.AmbientDnsCapture.Name:                         ambient,
		annotation.AmbientRedirection.Name:                        ambient,
		annotation.GalleyAnalyzeSuppress.Name:                     {},
		annotation.NetworkingTrafficDistribution.Name:             {},
		AnnotationProxy:    {check: checkDataPlane},
		AnnotationOnDemand: boolean,
	}
}

// checkAnnotations refuses invalid values, all of them at once, and gives verdicts
// on annotations of Istio that do not act.
func (w *work) checkAnnotations() error {
	known := rules()
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(w.original.Annotations)) {
		value := w.original.Annotations[name]
		r, ok := known[name]
		if !ok {
			if foreign(name) {
				w.say(name, verdict.NotActedOn, "pods have no annotation of this name")
			}
			continue
		}
		if r.check != nil {
			if err := r.check(value); err != nil {
				errs = append(errs, fmt.Errorf("annotation %s: %w", name, err))
				continue
			}
		}
		if r.code != "" {
			w.say(name, r.code, "%s", r.say)
		}
	}
	if err := checkDataPlane(w.request.Namespace.Annotations[AnnotationProxy]); err != nil {
		errs = append(errs, fmt.Errorf("annotation %s of namespace %s: %w", AnnotationProxy, w.request.Namespace.Name, err))
	}
	if len(errs) > 0 {
		return &UserError{Err: errors.Join(errs...)}
	}
	return nil
}

// say gives a verdict on an annotation.
func (w *work) say(name string, code verdict.Code, format string, args ...any) {
	w.verdicts = append(w.verdicts, verdict.Status{
		Origin: w.origin.At("metadata.annotations[" + name + "]"), Code: code, Message: fmt.Sprintf(format, args...),
	})
}

// foreign reports whether a name is in Istio's or our domain, where a name that is
// not known is probably a slip of the pen.
func foreign(name string) bool {
	domain, _, ok := strings.Cut(name, "/")
	return ok && (domain == "istio.io" || strings.HasSuffix(domain, ".istio.io") || domain == "lateen.dev")
}

func checkBool(v string) error {
	if _, err := strconv.ParseBool(v); err != nil {
		return fmt.Errorf("%q is neither true nor false", v)
	}
	return nil
}

func checkNumber(v string) error {
	if _, err := strconv.ParseUint(v, 10, 31); err != nil {
		return fmt.Errorf("%q is not a number of 0 or more", v)
	}
	return nil
}

func checkPort(v string) error {
	if _, err := strconv.ParseUint(v, 10, 16); err != nil {
		return fmt.Errorf("%q is not a port", v)
	}
	return nil
}

// list splits at commas; an empty text has no items.
func list(v string) []string {
	if strings.TrimSpace(v) == "" {
		return nil
	}
	items := strings.Split(v, ",")
	for i := range items {
		items[i] = strings.TrimSpace(items[i])
	}
	return items
}

func checkPorts(v string) error {
	for _, p := range list(v) {
		if err := checkPort(p); err != nil {
			return err
		}
	}
	return nil
}

func orStar(check func(string) error) func(string) error {
	return func(v string) error {
		if strings.TrimSpace(v) == "*" {
			return nil
		}
		return check(v)
	}
}

func checkRanges(v string) error {
	for _, r := range list(v) {
		if _, err := netip.ParsePrefix(r); err != nil {
			return fmt.Errorf("%q is not an address range such as 10.0.0.0/8", r)
		}
	}
	return nil
}

func checkQuantity(v string) error {
	q, err := resource.ParseQuantity(v)
	if err != nil {
		return fmt.Errorf("%q is not a quantity such as 100m or 128Mi", v)
	}
	if q.Sign() < 0 {
		return fmt.Errorf("%q is negative", v)
	}
	return nil
}

func checkPattern(p *regexp.Regexp, what string) func(string) error {
	return func(v string) error {
		if !p.MatchString(v) {
			return fmt.Errorf("%q is not %s", v, what)
		}
		return nil
	}
}

func checkList(p *regexp.Regexp, what string) func(string) error {
	return func(v string) error {
		for _, item := range list(v) {
			if !p.MatchString(item) {
				return fmt.Errorf("%q is not %s", item, what)
			}
		}
		return nil
	}
}

// logLevels are Envoy's and Istio's names.
var logLevels = []string{"trace", "debug", "info", "warning", "warn", "error", "critical", "fatal", "off", "none"}

// checkLevels reads LEVEL and SCOPE:LEVEL, in a list.
func checkLevels(v string) error {
	for _, item := range list(v) {
		scope, level, ok := strings.Cut(item, ":")
		if !ok {
			scope, level = "default", item
		}
		if !scopePattern.MatchString(scope) || !slices.Contains(logLevels, strings.ToLower(level)) {
			return fmt.Errorf("%q is not a log level; levels are trace, debug, info, warning, error, critical and off", item)
		}
	}
	return nil
}

func checkJSON(v string) error {
	var m map[string]json.RawMessage
	if err := json.Unmarshal([]byte(v), &m); err != nil {
		return fmt.Errorf("not a JSON object: %w", err)
	}
	return nil
}

func checkAddress(v string) error {
	host, port, err := net.SplitHostPort(v)
	if err == nil && host != "" && port != "0" {
		err = checkPort(port)
	}
	if err != nil || host == "" || strings.ContainsAny(host, " \t\r\n\"'\\") {
		return fmt.Errorf("%q is not of the form host:port", v)
	}
	return nil
}

func checkDataPlane(v string) error {
	if v != "" && v != dataPlaneNative && v != dataPlaneEnvoy {
		return fmt.Errorf("%q is neither %s nor %s", v, dataPlaneNative, dataPlaneEnvoy)
	}
	return nil
}
