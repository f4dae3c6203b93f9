package inject

import (
	"strconv"
	"strings"

	"istio.io/api/annotation"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// proxyIDs gives the proxy's user and group: 1337, or on OpenShift the highest of
// the ids that belong to the namespace, which its applications do not use.
func proxyIDs(namespace map[string]string) (uid, gid int64) {
	uid, gid = defaultProxyID, defaultProxyID
	if last, ok := lastID(namespace[annotationUIDRange]); ok {
		uid = last
	}
	if last, ok := lastID(namespace[annotationGroups]); ok {
		gid = last
	}
	return uid, gid
}

// lastID reads the first range of OpenShift's "START/SIZE" or "START-END", in a list.
func lastID(text string) (int64, bool) {
	first, _, _ := strings.Cut(text, ",")
	start, size, slash := strings.Cut(strings.TrimSpace(first), "/")
	if !slash {
		_, end, ok := strings.Cut(start, "-")
		n, err := strconv.ParseInt(end, 10, 64)
		return n, ok && err == nil && n > 0
	}
	a, err := strconv.ParseInt(start, 10, 64)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(size, 10, 64)
	return a + n - 1, err == nil && a > 0 && n > 0
}

// sayImageType explains that the types of Istio's images make no difference.
func (w *work) sayImageType(kind string) {
	code := verdict.Differs
	say := "all images of the proxy are without a distribution, so image type %q chooses nothing"
	if kind == "debug" {
		code, say = verdict.Unsupported, "there is no image of type %q: images hold the program only; name one of your own in sidecar.istio.io/proxyImage"
	}
	w.say(annotation.SidecarProxyImageType.Name, code, say, kind)
}
