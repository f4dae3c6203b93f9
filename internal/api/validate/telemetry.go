package validate

import (
	"maps"
	"slices"
	"strings"

	telemetry "istio.io/api/telemetry/v1alpha1"
)

func (c *checker) telemetry(t *telemetry.Telemetry) {
	c.policySelector("spec.selector", t.Selector)
	c.targets(t.Selector != nil, t.TargetRef, t.TargetRefs)
	if len(t.Tracing) > 1 {
		c.warn("spec.tracing", "several entries are merged; one of them is usually meant")
	}
	for i, x := range t.Tracing {
		c.tracing(at("spec.tracing", i), x)
	}
	for i, m := range t.Metrics {
		c.metrics(at("spec.metrics", i), m)
	}
	for i, l := range t.AccessLogging {
		p := at("spec.accessLogging", i)
		c.providers(p+".providers", l.Providers)
		if f := l.Filter; f != nil {
			c.expression(p+".filter.expression", f.Expression)
		}
	}
}

func (c *checker) providers(path string, list []*telemetry.ProviderRef) {
	for i, p := range list {
		if p.GetName() == "" {
			c.fail(at(path, i)+".name", "a provider needs a name")
		}
	}
}

func (c *checker) tracing(path string, t *telemetry.Tracing) {
	c.providers(path+".providers", t.Providers)
	if len(t.Providers) > 1 {
		c.warn(path+".providers", "only one provider of traces is used at a time")
	}
	if p := t.RandomSamplingPercentage; p != nil {
		c.percent(path+".randomSamplingPercentage", p.Value)
	}
	for _, name := range slices.Sorted(maps.Keys(t.CustomTags)) {
		p := key(path+".customTags", name)
		if name == "" {
			c.fail(p, "a tag needs a name")
		}
		var value, field string
		switch tag := t.CustomTags[name].GetType().(type) {
		case nil:
			c.fail(p, "one of literal, environment, header and formatter is required")
			continue
		case *telemetry.Tracing_CustomTag_Literal:
			field, value = ".literal.value", tag.Literal.GetValue()
		case *telemetry.Tracing_CustomTag_Environment:
			field, value = ".environment.name", tag.Environment.GetName()
		case *telemetry.Tracing_CustomTag_Header:
			field, value = ".header.name", tag.Header.GetName()
		case *telemetry.Tracing_CustomTag_Formatter:
			field, value = ".formatter.value", tag.Formatter.GetValue()
		}
		if value == "" {
			c.fail(p+field, "a text is required")
		}
	}
}

func (c *checker) metrics(path string, m *telemetry.Metrics) {
	c.providers(path+".providers", m.Providers)
	c.duration(path+".reportingInterval", m.ReportingInterval)
	for i, o := range m.Overrides {
		p := at(path+".overrides", i)
		if custom, ok := o.GetMatch().GetMetricMatch().(*telemetry.MetricSelector_CustomMetric); ok && custom.CustomMetric == "" {
			c.fail(p+".match.customMetric", "a metric needs a name")
		}
		for _, tag := range slices.Sorted(maps.Keys(o.TagOverrides)) {
			tp := key(p+".tagOverrides", tag)
			v := o.TagOverrides[tag]
			switch {
			case tag == "":
				c.fail(tp, "a tag needs a name")
			case v.GetOperation() == telemetry.MetricsOverrides_TagOverride_UPSERT && v.GetValue() == "":
				c.fail(tp+".value", "the operation UPSERT needs a value")
			case v.GetOperation() == telemetry.MetricsOverrides_TagOverride_REMOVE && v.GetValue() != "":
				c.fail(tp+".value", "the operation REMOVE takes no value")
			case v.GetOperation() == telemetry.MetricsOverrides_TagOverride_UPSERT:
				c.expression(tp+".value", v.GetValue())
			}
		}
	}
}

// expression checks the outer form of a CEL expression: quotes and brackets close.
// What it speaks of is checked where it is compiled.
func (c *checker) expression(path, s string) {
	if strings.TrimSpace(s) == "" {
		c.fail(path, "an expression is required")
		return
	}
	var open []rune
	quote := rune(0)
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			escaped = false
		case quote != 0 && r == '\\':
			escaped = true
		case quote != 0:
			if r == quote {
				quote = 0
			}
		case r == '"' || r == '\'':
			quote = r
		case strings.ContainsRune("([{", r):
			open = append(open, r)
		case strings.ContainsRune(")]}", r):
			pair := map[rune]rune{')': '(', ']': '[', '}': '{'}[r]
			if len(open) == 0 || open[len(open)-1] != pair {
				c.fail(path, "the expression closes %q, which it has not opened", string(r))
				return
			}
			open = open[:len(open)-1]
		}
	}
	switch {
	case quote != 0:
		c.fail(path, "the expression has a quote that is not closed")
	case len(open) > 0:
		c.fail(path, "the expression does not close %q", string(open[len(open)-1]))
	}
}
