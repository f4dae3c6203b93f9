package validate

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	security "istio.io/api/security/v1beta1"
)

func (c *checker) requestAuthentication(r *security.RequestAuthentication) {
	c.policySelector("spec.selector", r.Selector)
	c.targets(r.Selector != nil, r.TargetRef, r.TargetRefs)
	for i, rule := range r.JwtRules {
		c.jwtRule(at("spec.jwtRules", i), rule)
	}
}

// longestURI and maxDelimited are limits of the custom resource definition.
const (
	longestURI   = 2048
	maxDelimited = 64
)

func (c *checker) jwtRule(path string, r *security.JWTRule) {
	if r.Issuer == "" {
		c.fail(path+".issuer", "an issuer is required")
	}
	c.notEmpty(path+".audiences", r.Audiences)
	switch {
	case r.JwksUri != "" && r.Jwks != "":
		c.fail(path+".jwks", "only one of jwks and jwksUri can be set")
	case r.JwksUri != "":
		c.jwksURI(path+".jwksUri", r.JwksUri)
	case r.Jwks != "":
		c.keySet(path+".jwks", r.Jwks)
	}
	for i, h := range r.FromHeaders {
		c.header(at(path+".fromHeaders", i)+".name", h.GetName())
	}
	c.notEmpty(path+".fromParams", r.FromParams)
	c.notEmpty(path+".fromCookies", r.FromCookies)
	if h := r.OutputPayloadToHeader; h != "" {
		c.header(path+".outputPayloadToHeader", h)
	}
	seen := map[string]bool{}
	for i, o := range r.OutputClaimToHeaders {
		p := at(path+".outputClaimToHeaders", i)
		switch name := strings.ToLower(o.GetHeader()); {
		case !plainHeader.MatchString(name):
			c.fail(p+".header", "%q is not a header name of letters, digits, '-' and '_'", o.GetHeader())
		case seen[name]:
			c.fail(p+".header", "the header %q takes a claim already", o.GetHeader())
		default:
			seen[name] = true
		}
		if o.GetClaim() == "" {
			c.fail(p+".claim", "a claim is required")
		}
	}
	c.duration(path+".timeout", r.Timeout)
	c.notEmpty(path+".spaceDelimitedClaims", r.SpaceDelimitedClaims)
	if n := len(r.SpaceDelimitedClaims); n > maxDelimited {
		c.fail(path+".spaceDelimitedClaims", "%d claims are more than %d", n, maxDelimited)
	}
}

func (c *checker) jwksURI(path, s string) {
	if len(s) > longestURI {
		c.fail(path, "the URI is longer than %d bytes", longestURI)
		return
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		c.fail(path, "%q is not a URL that begins with http:// or https://", s)
		return
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			c.fail(path, "the port %q is not between 1 and 65535", port)
		}
	}
}

// keySet checks the form of a JSON Web Key Set (RFC 7517, section 5).
func (c *checker) keySet(path, s string) {
	var set struct {
		Keys []map[string]any `json:"keys"`
	}
	if err := json.Unmarshal([]byte(s), &set); err != nil {
		c.fail(path, "not a JSON Web Key Set: %s", err)
		return
	}
	if len(set.Keys) == 0 {
		c.fail(path, "the key set has no keys: no token could be checked")
	}
	for i, k := range set.Keys {
		if kty, ok := k["kty"].(string); !ok || kty == "" {
			c.fail(path, "the key %d of the set has no kty", i)
		}
	}
}
