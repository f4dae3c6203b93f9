package router

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
)

// hash computes the consistent-hash key of the route's policies (Envoy's
// RouteAction.hash_policy): the parts that exist are combined in order. Keys are those
// of Envoy, so that both data planes choose the same endpoints.
func (c *call) hash() {
	for i := range c.route.Forward.HashPolicy {
		p := &c.route.Forward.HashPolicy[i]
		h, ok := c.hashPart(p)
		if !ok {
			continue
		}
		if c.tried.HashSet {
			h ^= c.tried.Hash<<1 | c.tried.Hash>>63
		}
		c.tried.Hash, c.tried.HashSet = h, true
		if p.Terminal {
			break
		}
	}
}

func (c *call) hashPart(p *config.HashPolicy) (uint64, bool) {
	req := &c.s.Request
	switch {
	case p.Header != nil:
		return hashHeader(req, *p.Header)
	case p.Cookie != "":
		v := cookieValue(req, p.Cookie)
		if len(v) == 0 {
			if p.CookieTTL == nil {
				return 0, false
			}
			v = c.issueCookie(p)
		}
		return xxhash.Sum64(v), true
	case p.Query != "":
		v, ok := queryValue(req.Path, p.Query)
		return xxhash.Sum64(v), ok
	case p.SourceIP:
		a := c.s.ClientAddr()
		return upstream.HashSource(a.Addr()), a.IsValid()
	}
	return 0, false
}

// hashHeader hashes a field's value. Those of several lines are chained in their
// order as bytes, so that the order in which they came does not matter.
func hashHeader(req *stream.Request, name stream.Name) (uint64, bool) {
	var first []byte
	n := 0
	for v := range req.Values(name) {
		if n == 0 {
			first = v
		}
		n++
	}
	if n <= 1 {
		return xxhash.Sum64(first), n == 1
	}
	values := slices.SortedFunc(req.Values(name), bytes.Compare)
	sum := uint64(0)
	for _, v := range values {
		var d xxhash.Digest
		d.ResetWithSeed(sum)
		_, _ = d.Write(v) // a digest never fails
		sum = d.Sum64()
	}
	return sum, true
}

// issueCookie makes up a key and has the answer carry it. Like Envoy's it depends on
// the connection alone: requests that race on it get the same.
func (c *call) issueCookie(p *config.HashPolicy) []byte {
	var seed []byte
	if conn := c.s.Conn; conn != nil {
		seed = conn.Local.AppendTo(conn.Remote.AppendTo(seed))
	}
	value := strconv.AppendUint(nil, xxhash.Sum64(seed), 16)
	ck := append([]byte(p.Cookie+"=\""), value...)
	ck = append(ck, '"')
	if s := int64(p.CookieTTL.Seconds()); s > 0 {
		ck = append(ck, "; Max-Age="...)
		ck = strconv.AppendInt(ck, s, 10)
	}
	if p.CookiePath != "" {
		ck = append(ck, "; Path="+p.CookiePath...)
	}
	ck = append(ck, p.CookieMore...)
	c.cookies = append(c.cookies, append(ck, "; HttpOnly"...))
	return value
}

func cookieValue(req *stream.Request, name string) []byte {
	for line := range req.Values(stream.Cookie) {
		for part := range bytes.SplitSeq(line, []byte(";")) {
			k, v, ok := bytes.Cut(bytes.TrimSpace(part), []byte("="))
			if ok && string(k) == name {
				if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
					v = v[1 : len(v)-1]
				}
				return v
			}
		}
	}
	return nil
}

func queryValue(path []byte, name string) ([]byte, bool) {
	_, query, ok := bytes.Cut(path, []byte("?"))
	if !ok {
		return nil, false
	}
	query, _, _ = bytes.Cut(query, []byte("#"))
	for part := range bytes.SplitSeq(query, []byte("&")) {
		k, v, _ := bytes.Cut(part, []byte("="))
		if string(k) == name {
			return v, true
		}
	}
	return nil, false
}
