package validate

import (
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/lateen-mesh/lateen/internal/api"
)

const (
	labelRule     = "at most 63 lower-case letters, digits and '-', with a letter or digit at both ends"
	subdomainRule = "at most 253 lower-case letters, digits, '-' and '.', with a letter or digit at both ends"
)

func isLabel(s string) bool     { return len(validation.IsDNS1123Label(s)) == 0 }
func isSubdomain(s string) bool { return len(validation.IsDNS1123Subdomain(s)) == 0 }

// meta checks the name, the namespace, labels and annotations.
func (c *checker) meta() {
	m := &c.object.Meta
	switch c.object.Kind.Name {
	case api.KindNamespace, api.KindService:
		if !isLabel(m.Name) {
			c.fail("metadata.name", "%q is not a valid name; use %s", m.Name, labelRule)
		}
	default:
		if !isSubdomain(m.Name) {
			c.fail("metadata.name", "%q is not a valid name; use %s", m.Name, subdomainRule)
		}
	}
	if !c.object.Kind.ClusterScoped && !isLabel(m.Namespace) {
		c.fail("metadata.namespace", "%q is not a valid namespace; use %s", m.Namespace, labelRule)
	}
	c.labels("metadata.labels", m.Labels)
	for _, k := range slices.Sorted(maps.Keys(m.Annotations)) {
		if len(validation.IsQualifiedName(strings.ToLower(k))) > 0 {
			c.fail(key("metadata.annotations", k), "%q is not a valid annotation key", k)
		}
	}
}

// labels checks a map of labels or an equality selector.
func (c *checker) labels(path string, labels map[string]string) {
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		if len(validation.IsQualifiedName(k)) > 0 {
			c.fail(key(path, k), "%q is not a valid label key; use letters, digits, '-', '_' and '.', with an optional DNS prefix and '/'", k)
		}
		if v := labels[k]; len(validation.IsValidLabelValue(v)) > 0 {
			c.fail(key(path, k), "%q is not a valid label value; use at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends", v)
		}
	}
}

// port checks a port number.
func (c *checker) port(path string, number int64) {
	if number < 1 || number > 65535 {
		c.fail(path, "port %d is not between 1 and 65535", number)
	}
}

// host checks a DNS name. Where wildcards are allowed, these are "*" and names
// whose first label begins with one: "*.example.com", "*-eu.example.com".
func (c *checker) host(path, host string, wildcard bool) {
	rest := host
	for _, prefix := range []string{"*.", "*-", "*"} {
		var cut bool
		if rest, cut = strings.CutPrefix(host, prefix); cut {
			break
		}
	}
	switch {
	case host == "":
		c.fail(path, "a host is required")
	case rest != host && !wildcard:
		c.fail(path, "%q must not be a wildcard", host)
	case host == "*":
	case strings.Contains(rest, "*"):
		c.fail(path, "%q is not a valid host; a wildcard is only allowed at the beginning, as in \"*.example.com\"", host)
	case !isHost(rest):
		c.fail(path, "%q is not a valid host name; use labels of letters, digits and '-', joined by '.'", host)
	}
}

var hostLabel = regexp.MustCompile(`^[a-zA-Z0-9_]([-a-zA-Z0-9_]{0,61}[a-zA-Z0-9_])?$`)

func isHost(s string) bool {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !hostLabel.MatchString(label) {
			return false
		}
	}
	return true
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// subnet checks an address or a CIDR prefix.
func (c *checker) subnet(path, s string) {
	if isIP(s) {
		return
	}
	if _, err := netip.ParsePrefix(s); err != nil {
		c.fail(path, "%q is not an IP address or a subnet such as \"10.0.0.0/16\"", s)
	}
}

// exportTo checks visibility; only "." and "*" and namespaces are of use outside
// ServiceEntry.
func (c *checker) exportTo(path string, list []string) {
	seen := map[string]bool{}
	for i, s := range list {
		p := at(path, i)
		switch {
		case seen[s]:
			c.fail(p, "%q is listed twice", s)
		case s == "~":
			c.fail(p, "\"~\" (export to nobody) is only allowed in a ServiceEntry")
		case s == "*" && len(list) > 1:
			c.fail(p, "\"*\" exports to every namespace; it cannot stand beside others")
		case s != "." && s != "*" && !isLabel(s):
			c.fail(p, "%q is not \".\", \"*\" or the name of a namespace", s)
		}
		seen[s] = true
	}
}

// duration checks a duration that must be at least a millisecond, the precision
// of Envoy's timers.
func (c *checker) duration(path string, d *durationpb.Duration) {
	if d == nil {
		return
	}
	switch v := d.AsDuration(); {
	case v < time.Millisecond:
		c.fail(path, "the duration %s must be at least 1ms", v)
	case v%time.Millisecond != 0:
		c.fail(path, "the duration %s is finer than a millisecond, which is the precision of the proxy", v)
	}
}

func (c *checker) required(path string, d *durationpb.Duration) {
	if d == nil {
		c.fail(path, "a duration is required")
	}
	c.duration(path, d)
}

// percent checks a share of 0 to 100.
func (c *checker) percent(path string, v float64) {
	if v < 0 || v > 100 {
		c.fail(path, "%g is not a percentage between 0 and 100", v)
	}
}

func (c *checker) nonNegative(path string, v int32) {
	if v < 0 {
		c.fail(path, "%d must not be negative", v)
	}
}

// maxRegex bounds patterns as Envoy's default program size does in effect.
const maxRegex = 1024

// regex checks an RE2 pattern.
func (c *checker) regex(path, pattern string) {
	if pattern == "" {
		c.fail(path, "a regular expression is required")
		return
	}
	if len(pattern) > maxRegex {
		c.fail(path, "the regular expression is longer than %d bytes", maxRegex)
		return
	}
	if _, err := regexp.Compile(pattern); err != nil {
		c.fail(path, "%q is not a valid RE2 regular expression: %s", pattern, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

var headerName = regexp.MustCompile("^[-!#$%&'*+.^_`|~0-9A-Za-z]+$")

// header checks the name of a header. Pseudo headers other than those allowed
// have fields of their own in the API.
func (c *checker) header(path, name string, pseudo ...string) {
	switch {
	case name == "":
		c.fail(path, "a header name is required")
	case slices.Contains(pseudo, name):
	case strings.HasPrefix(name, ":"):
		c.fail(path, "the pseudo header %q cannot be used here", name)
	case !headerName.MatchString(name):
		c.fail(path, "%q is not a valid header name", name)
	}
}

func (c *checker) headerValue(path, value string) {
	if strings.ContainsAny(value, "\r\n\x00") {
		c.fail(path, "a header value must not contain line breaks")
	}
}
