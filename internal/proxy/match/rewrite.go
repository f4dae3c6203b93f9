package match

import (
	"bytes"
	"regexp"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// RewritesPath reports whether RewritePath may change a path.
func RewritesPath(r *config.Route) bool {
	return r.Forward != nil && (r.Forward.PrefixRewrite != "" || r.Forward.RegexRewrite != nil)
}

// RewritePath appends to dst the path (with its query) that the route's rewrite
// makes of path. The route must have matched path. Envoy: prefix_rewrite replaces
// the matched prefix, of an exact or regex match the whole path; regex_rewrite
// replaces every occurrence of its pattern; the query is kept.
func RewritePath(dst []byte, r *config.Route, path []byte) []byte {
	f := r.Forward
	switch {
	case f == nil:
	case f.RegexRewrite != nil:
		return replaceAll(dst, f.RegexRewrite, f.RegexRewriteSub, path)
	case f.PrefixRewrite != "":
		return replacePrefix(dst, &r.Match, f.PrefixRewrite, path)
	}
	return append(dst, path...)
}

// replacePrefix replaces what the match matched.
func replacePrefix(dst []byte, m *config.RouteMatch, by string, path []byte) []byte {
	n := len(m.Path)
	switch m.PathKind {
	case config.PathExact, config.PathRegex, config.PathConnect:
		n = len(pathOnly(path))
	}
	return append(append(dst, by...), path[min(n, len(path)):]...)
}

// replaceAll replaces in the path without its query. sub has groups as \0 to \9.
func replaceAll(dst []byte, re *regexp.Regexp, sub string, path []byte) []byte {
	only := pathOnly(path)
	at := 0
	for _, loc := range re.FindAllSubmatchIndex(only, -1) {
		dst = append(dst, only[at:loc[0]]...)
		dst = expand(dst, sub, only, loc)
		at = loc[1]
	}
	return append(dst, path[at:]...)
}

func expand(dst []byte, sub string, src []byte, loc []int) []byte {
	for i := 0; i < len(sub); i++ {
		if sub[i] != '\\' || i+1 == len(sub) {
			dst = append(dst, sub[i])
			continue
		}
		i++
		if sub[i] == '\\' {
			dst = append(dst, '\\')
			continue
		}
		if g := 2 * int(sub[i]-'0'); g >= 0 && g+1 < len(loc) && loc[g] >= 0 {
			dst = append(dst, src[loc[g]:loc[g+1]]...)
		}
	}
	return dst
}

// Location appends to dst the value of the Location field for a redirect, as
// Envoy's RedirectAction builds it from the request.
func Location(dst []byte, r *config.Route, req *stream.Request) []byte {
	rd := r.Redirect
	came := req.Get(stream.ForwardedProto)
	if len(came) == 0 {
		came = req.Scheme
	}
	start := len(dst)
	switch {
	case rd.Scheme != "":
		dst = append(dst, rd.Scheme...)
	case rd.HTTPS:
		dst = append(dst, "https"...)
	case len(came) > 0:
		dst = append(dst, came...)
	default:
		dst = append(dst, "http"...)
	}
	sameScheme := string(dst[start:]) == string(came)
	dst = append(dst, "://"...)
	if rd.Host != "" {
		dst = append(dst, rd.Host...)
	} else {
		dst = append(dst, redirectHost(req.Authority, rd.Port != 0, sameScheme, came)...)
	}
	if rd.Port != 0 {
		dst = strconv.AppendUint(append(dst, ':'), uint64(rd.Port), 10)
	}
	return redirectPath(dst, r, req.Path)
}

// redirectHost keeps the request's port, unless a new one replaces it, or it was
// the default port of a scheme that changes.
func redirectHost(authority []byte, newPort, sameScheme bool, came []byte) []byte {
	host := WithoutPort(authority)
	port := string(authority[len(host):])
	standard := string(came) == "https" && port == ":443" || string(came) == "http" && port == ":80"
	if newPort || !sameScheme && standard {
		return host
	}
	return authority
}

func redirectPath(dst []byte, r *config.Route, path []byte) []byte {
	rd := r.Redirect
	start := len(dst)
	switch {
	case rd.Path != "":
		dst = append(dst, rd.Path...)
		if bytes.IndexByte(dst[start:], '?') >= 0 {
			return dst // its own query stays, whatever strip_query says
		}
		if i := bytes.IndexByte(path, '?'); i >= 0 {
			dst = append(dst, path[i:]...)
		}
	case rd.PrefixSet:
		dst = replacePrefix(dst, &r.Match, rd.Prefix, path)
	case rd.Regex != nil:
		dst = replaceAll(dst, rd.Regex, rd.RegexSub, path)
	default:
		dst = append(dst, path...)
	}
	if rd.StripQuery {
		if i := bytes.IndexByte(dst[start:], '?'); i >= 0 {
			dst = dst[:start+i]
		}
	}
	return dst
}
