package gatewayapi

import (
	"regexp"
	"strings"
)

// What data planes refuse must never reach them: one bad string would have a whole
// route table rejected, with the routes of everybody in it. On Kubernetes the schema of
// the kinds refuses it first.

// headerName is RFC 9110's token, without capitals: names are folded before.
var headerName = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9a-z-]+$")

// plain reports whether a string can stand in a header line or path: no control
// character but the tab.
func plain(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) < 0
}

// hostPattern is a host as an authority can have it, or a wildcard for its first labels.
var hostPattern = regexp.MustCompile(`^(\*|(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?)$`)

func validHost(h string) bool { return len(h) <= 253 && hostPattern.MatchString(h) }
