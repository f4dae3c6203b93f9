// Package spiffe holds SPIFFE identities in the form that Istio gives them:
// spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT.
package spiffe

import (
	"fmt"
	"net/url"
	"strings"
)

// DefaultTrustDomain is the trust domain of a mesh that names none.
const DefaultTrustDomain = "cluster.local"

const scheme = "spiffe://"

// ID is a workload's identity. Values made by New and Parse are valid.
type ID struct {
	TrustDomain    string
	Namespace      string
	ServiceAccount string
}

// New makes an ID and checks its parts.
func New(trustDomain, namespace, serviceAccount string) (ID, error) {
	id := ID{trustDomain, namespace, serviceAccount}
	return id, id.check()
}

// Parse reads the text form.
func Parse(s string) (ID, error) {
	rest, ok := strings.CutPrefix(s, scheme)
	if !ok {
		return ID{}, fmt.Errorf("%q is not a SPIFFE id: it does not start with %s", s, scheme)
	}
	p := strings.Split(rest, "/")
	if len(p) != 5 || p[1] != "ns" || p[3] != "sa" {
		return ID{}, fmt.Errorf("%q is not of the form spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT", s)
	}
	id := ID{p[0], p[2], p[4]}
	return id, id.check()
}

// String gives the text form.
func (id ID) String() string {
	return scheme + id.TrustDomain + "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount
}

// URI gives the form that certificates carry.
func (id ID) URI() *url.URL {
	return &url.URL{Scheme: "spiffe", Host: id.TrustDomain, Path: "/ns/" + id.Namespace + "/sa/" + id.ServiceAccount}
}

// check applies the SPIFFE-ID standard (§2.1 trust domain, §2.2 path): a trust
// domain of lower-case letters, digits, dots, dashes and underscores; path
// segments of letters, digits and those, neither empty nor "." or "..".
func (id ID) check() error {
	if id.TrustDomain == "" || len(id.TrustDomain) > 255 || !only(id.TrustDomain, false) {
		return fmt.Errorf("%q is no valid trust domain", id.TrustDomain)
	}
	for _, s := range []string{id.Namespace, id.ServiceAccount} {
		if s == "" || s == "." || s == ".." || len(s) > 253 || !only(s, true) {
			return fmt.Errorf("%q is no valid part of a SPIFFE id", s)
		}
	}
	return nil
}

func only(s string, upper bool) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', c == '.', c == '-', c == '_':
		case upper && 'A' <= c && c <= 'Z':
		default:
			return false
		}
	}
	return true
}
