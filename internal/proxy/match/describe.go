package match

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
)

// Describe puts a route's match into words: `path prefix "/", header end-user is "jason"`.
func Describe(m *config.RouteMatch) string {
	parts := []string{"path " + describePath(m)}
	for i := range m.Headers {
		parts = append(parts, "header "+describeHeader(&m.Headers[i]))
	}
	for i := range m.Query {
		parts = append(parts, "query parameter "+describeString(m.Query[i].Name, &m.Query[i].Value, false))
	}
	if m.FractionSet {
		parts = append(parts, percent(uint64(m.Fraction), million)+" of requests")
	}
	return strings.Join(parts, ", ")
}

func describePath(m *config.RouteMatch) string {
	fold := ""
	if m.CaseFold {
		fold = " in any case"
	}
	switch m.PathKind {
	case config.PathPrefix:
		return fmt.Sprintf("prefix %q%s", m.Path, fold)
	case config.PathSeparatedPrefix:
		return fmt.Sprintf("%q or below it%s", m.Path, fold)
	case config.PathRegex:
		return "regex " + pattern(m.Regex.String())
	case config.PathConnect:
		return "any, of method CONNECT"
	}
	return fmt.Sprintf("%q%s", m.Path, fold)
}

func describeHeader(h *config.HeaderMatch) string {
	if h.RangeSet {
		not := ""
		if h.Invert {
			not = "not "
		}
		return fmt.Sprintf("%s is %sin [%d, %d)", h.Name, not, h.RangeLo, h.RangeHi)
	}
	return describeString(h.Name.String(), &h.Value, h.Invert)
}

func describeString(name string, m *config.StringMatch, invert bool) string {
	does, not := "is", "is not"
	value := strconv.Quote(m.Value)
	switch m.Kind {
	case config.StringAny:
		if invert {
			return name + " is absent"
		}
		return name + " is present"
	case config.StringRegex:
		does, not, value = "matches", "does not match", pattern(m.Regex.String())
	case config.StringPrefix:
		does, not = "begins with", "does not begin with"
	case config.StringSuffix:
		does, not = "ends in", "does not end in"
	case config.StringContains:
		does, not = "contains", "does not contain"
	}
	if invert {
		does = not
	}
	return name + " " + does + " " + value
}

// pattern gives a regular expression as it was configured.
func pattern(re string) string {
	return strconv.Quote(strings.TrimSuffix(strings.TrimPrefix(re, `\A(?:`), `)\z`))
}

// percent writes a share: "90 %", "0.5 %".
func percent(part, whole uint64) string {
	if whole == 0 {
		return "0 %"
	}
	return strconv.FormatFloat(float64(part)*100/float64(whole), 'f', -1, 64) + " %"
}
