package router

import (
	"bytes"
	"encoding/hex"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// hash computes the consistent-hash key of the route's policies (Envoy's
// RouteAction.hash_policy): the parts that exist are combined in order.
func (c *call) hash() error {
	for i := range c.route.Forward.HashPolicy {
		p := &c.route.Forward.HashPolicy[i]
		v, ok := c.hashPart(p)
		if !ok {
			continue
		}
		h := xxhash.Sum64(v)
		if c.tried.HashSet {
			h ^= c.tried.Hash<<1 | c.tried.Hash>>63
		}
		c.tried.Hash, c.tried.HashSet = h, true
		if p.Terminal {
			break
		}
	}
	return nil
}

func (c *call) hashPart(p *config.HashPolicy) ([]byte, bool) {
	req := &c.s.Request
	switch {
	case p.Header != nil:
		v := req.Get(*p.Header)
		return v, v != nil
	case p.Cookie != "":
		if v, ok := cookieValue(req, p.Cookie); ok {
			return v, true
		}
		if p.CookieTTL == nil {
			return nil, false
		}
		return c.issueCookie(p), true
	case p.Query != "":
		return queryValue(req.Path, p.Query)
	case p.SourceIP:
		if c.s.Conn == nil {
			return nil, false
		}
		c.scratch = c.s.Conn.Remote.Addr().AppendTo(c.scratch[:0])
		return c.scratch, true
	}
	return nil, false
}

// issueCookie makes up a key and has the answer carry it.
func (c *call) issueCookie(p *config.HashPolicy) []byte {
	var raw [8]byte
	n := c.r.o.Rand()
	for i := range raw {
		raw[i] = byte(n >> (8 * i))
	}
	value := []byte(hex.EncodeToString(raw[:]))
	ck := append([]byte(p.Cookie+"=\""), value...)
	ck = append(ck, '"')
	if s := int64(p.CookieTTL.Seconds()); s > 0 {
		ck = append(ck, "; Max-Age="...)
		ck = strconv.AppendInt(ck, s, 10)
	}
	if p.CookiePath != "" {
		ck = append(ck, "; Path="+p.CookiePath...)
	}
	c.cookie = append(ck, "; HttpOnly"...)
	return value
}

func cookieValue(req *stream.Request, name string) ([]byte, bool) {
	for line := range req.Values(stream.Cookie) {
		for part := range bytes.SplitSeq(line, []byte(";")) {
			k, v, ok := bytes.Cut(bytes.TrimSpace(part), []byte("="))
			if ok && string(k) == name {
				return bytes.Trim(v, `"`), true
			}
		}
	}
	return nil, false
}

func queryValue(path []byte, name string) ([]byte, bool) {
	_, query, ok := bytes.Cut(path, []byte("?"))
	if !ok {
		return nil, false
	}
	for part := range bytes.SplitSeq(query, []byte("&")) {
		k, v, _ := bytes.Cut(part, []byte("="))
		if string(k) == name {
			return v, true
		}
	}
	return nil, false
}
