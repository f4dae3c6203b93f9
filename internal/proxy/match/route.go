package match

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

const million = 1_000_000

// FindRoute returns the first route of vh that matches the request, nil if none
// does. random decides on runtime fractions.
func FindRoute(vh *config.VirtualHost, req *stream.Request, random uint64, rec Recorder) *config.Route {
	m := matcher{req: req, random: random, path: pathOnly(req.Path)}
	if x, ok := vh.Index.(*routeIndex); ok && rec == nil {
		if r, ok := x.find(&m); ok {
			return r
		}
	}
	for _, r := range vh.Routes {
		ok := m.matches(&r.Match)
		if rec != nil {
			rec.Candidate(Candidate{Node: r, Matched: ok, Why: m.reason(&r.Match, ok)})
		}
		if ok {
			return r
		}
	}
	return nil
}

// PickCluster chooses a destination by weight; nil where a request header names
// the cluster (Forward.ClusterHeader).
func PickCluster(fwd *config.Forward, random uint64, rec Recorder) *config.WeightedCluster {
	return pick(fwd.Clusters, fwd.TotalWeight, random, rec)
}

// PickTCPCluster chooses a destination of a TCP proxy by weight.
func PickTCPCluster(tcp *config.TCP, random uint64, rec Recorder) *config.WeightedCluster {
	return pick(tcp.Clusters, tcp.TotalWeight, random, rec)
}

func pick(list []config.WeightedCluster, total uint32, random uint64, rec Recorder) *config.WeightedCluster {
	chosen := -1
	switch {
	case len(list) == 0:
		return nil
	case len(list) == 1 || total == 0:
		chosen = 0
	default:
		at := random % uint64(total)
		for i := range list {
			if w := uint64(list[i].Weight); at < w {
				chosen = i
				break
			} else {
				at -= w
			}
		}
	}
	if rec != nil {
		for i := range list {
			why := "it is the only cluster"
			if len(list) > 1 {
				why = fmt.Sprintf("weight %d of %d", list[i].Weight, total)
			}
			rec.Candidate(Candidate{Node: &list[i], Matched: i == chosen, Why: why})
		}
	}
	if chosen < 0 {
		return nil // the weights do not sum up to total; the parser sees to it that they do
	}
	return &list[chosen]
}

// matcher holds what matching one request computes once.
type matcher struct {
	req    *stream.Request
	path   []byte // without query and fragment
	random uint64
}

// pathOnly cuts query and fragment off.
func pathOnly(path []byte) []byte {
	if i := bytes.IndexAny(path, "?#"); i >= 0 {
		return path[:i]
	}
	return path
}

// matches reports whether all parts of a match agree with the request.
func (m *matcher) matches(rm *config.RouteMatch) bool {
	if !m.pathMatches(rm) {
		return false
	}
	for i := range rm.Headers {
		if !HeaderMatches(&rm.Headers[i], m.req) {
			return false
		}
	}
	for i := range rm.Query {
		if !queryMatches(&rm.Query[i], m.req.Path) {
			return false
		}
	}
	return !rm.FractionSet || m.random%million < uint64(rm.Fraction)
}

func (m *matcher) pathMatches(rm *config.RouteMatch) bool {
	switch rm.PathKind {
	case config.PathPrefix:
		return hasPrefix(m.path, rm.Path, rm.CaseFold)
	case config.PathExact:
		return len(m.path) == len(rm.Path) && hasPrefix(m.path, rm.Path, rm.CaseFold)
	case config.PathSeparatedPrefix:
		return hasPrefix(m.path, rm.Path, rm.CaseFold) && (len(m.path) == len(rm.Path) || m.path[len(rm.Path)] == '/')
	case config.PathRegex:
		return rm.Regex.Match(m.path)
	case config.PathConnect:
		return string(m.req.Method) == "CONNECT"
	}
	return false
}

// hasPrefix compares bytes; folding, prefix is lower case already.
func hasPrefix(b []byte, prefix string, fold bool) bool {
	if len(b) < len(prefix) {
		return false
	}
	if !fold {
		return string(b[:len(prefix)]) == prefix
	}
	return equalFold(b[:len(prefix)], prefix)
}

// equalFold compares with a lower-case string of the same length, ASCII only.
func equalFold(b []byte, lower string) bool {
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// reason says why a route matched or did not.
func (m *matcher) reason(rm *config.RouteMatch, ok bool) string {
	if ok {
		return "it is the first route that matches: " + Describe(rm)
	}
	if !m.pathMatches(rm) {
		return fmt.Sprintf("it wants path %s, the request has %q", describePath(rm), m.path)
	}
	for i := range rm.Headers {
		if h := &rm.Headers[i]; !HeaderMatches(h, m.req) {
			return fmt.Sprintf("it wants that header %s (%s)", describeHeader(h), has(h.Name, m.req))
		}
	}
	for i := range rm.Query {
		if q := &rm.Query[i]; !queryMatches(q, m.req.Path) {
			return fmt.Sprintf("it wants that query parameter %s", describeString(q.Name, &q.Value, false))
		}
	}
	return fmt.Sprintf("it takes %s of requests, and this one is not among them", percent(uint64(rm.Fraction), million))
}

// has says what the request has in a field.
func has(n stream.Name, req *stream.Request) string {
	if value, ok := pseudoField(n, req); ok {
		return fmt.Sprintf("the request has %q", value)
	}
	var values []string
	for v := range req.Values(n) {
		values = append(values, strconv.Quote(string(v)))
	}
	if values == nil {
		return "the request has none"
	}
	return "the request has " + strings.Join(values, ", ")
}
