package console

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// guard keeps pages of other sites away from the console, which trusts whoever
// reaches it:
//
//   - a request must call the console by a name of this machine, since a page of
//     another site whose name is made to resolve to 127.0.0.1 (DNS rebinding) is of
//     the same origin to a browser, but cannot choose the Host header;
//   - what changes something, and what is answered in parts, must not come from
//     another origin, as the browser says (Sec-Fetch-Site, Origin);
//   - a body must be of a type that a form cannot send.
type guard struct{ readOnly bool }

// policy lets a page load nothing from anywhere else. Styles are set by scripts of
// chart libraries, hence 'unsafe-inline' for them alone.
const policy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; connect-src 'self'; " +
	"manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

func (g guard) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		if status, why := g.check(r); status != 0 {
			http.Error(w, why, status)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// check gives the status and reason of a refusal; 0 lets the request through.
func (g guard) check(r *http.Request) (status int, why string) {
	if !local(r.Host) {
		return http.StatusMisdirectedRequest, "the console answers to localhost only, not to " + r.Host
	}
	if foreign(r) && (r.URL.Path != "/" || r.Method != http.MethodGet) {
		return http.StatusForbidden, "the request comes from another site"
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		return 0, ""
	case http.MethodPost, http.MethodDelete:
	default:
		return http.StatusMethodNotAllowed, r.Method + " means nothing here"
	}
	if g.readOnly && changes(r) {
		return http.StatusForbidden, "the console is read-only"
	}
	return 0, ""
}

// changes reports whether a request asks for a change: all that are not GET, but for
// questions with a body.
func changes(r *http.Request) bool {
	switch r.URL.Path {
	case "/api/validate", "/api/explain", "/api/v1/query", "/api/v1/query_range", "/api/v1/series", "/api/v1/labels":
		return false
	}
	return r.Method != http.MethodGet && r.Method != http.MethodHead && r.URL.Query().Get("dryRun") != "true"
}

// local reports whether a Host header names this machine.
func local(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// foreign reports whether a browser says that another site's page sent the request.
// Programs send neither header.
func foreign(r *http.Request) bool {
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
		return true
	}
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || u.Host != r.Host
}
