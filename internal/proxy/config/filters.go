package config

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// ParseHeaderMatches reads the header matchers of a filter's configuration; the
// error names the filter and the field.
func ParseHeaderMatches(filter string, ms []*routev3.HeaderMatcher) ([]HeaderMatch, error) {
	s := root("filter", filter)
	var list []HeaderMatch
	for i, m := range ms {
		h, err := parseHeaderMatch(s.item("headers", i), m)
		if err != nil {
			return nil, err
		}
		list = append(list, h)
	}
	return list, nil
}

// ParseStringMatches reads the string matchers in a field of a filter's configuration;
// the error names the filter and the field.
func ParseStringMatches(filter, field string, ms []*matcherv3.StringMatcher) ([]StringMatch, error) {
	s := root("filter", filter)
	var list []StringMatch
	for i, m := range ms {
		one, err := parseString(s.item(field, i), m)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

// Repeatable is a FilterBuilder whose filter may stand in a chain several times,
// each time with its own configuration. All share one slot, and so what a route
// overrides.
type Repeatable interface{ Repeatable() bool }

func repeatable(b FilterBuilder) bool {
	r, ok := b.(Repeatable)
	return ok && r.Repeatable()
}
