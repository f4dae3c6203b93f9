package tlsctx

import (
	"crypto/tls"
	"net/netip"
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// maxSessions bounds the sessions that one client context keeps, over all
// endpoints.
const maxSessions = 256

// Client is the client context of one cluster (or of one transport match in it).
// Safe for concurrent use.
type Client struct {
	// immutable
	common *common
	cfg    *config.UpstreamTLS

	mu  sync.Mutex
	cur *clientEpoch // guarded by mu
}

type clientEpoch struct {
	*epoch
	config   *tls.Config
	sessions tls.ClientSessionCache // over all endpoints of the cluster
}

// Dial says what one connection is for.
type Dial struct {
	Endpoint netip.AddrPort
	// ServerName is offered where the configuration names none; "" sends none.
	ServerName string
	// Speak says what will be spoken: other protocols are not offered.
	Speak Speak
	// ALPN replaces the configured protocols of HTTP where it is not nil.
	ALPN *stream.ALPN
}

// NewClient checks the configuration and makes its context. Secrets need not be
// there yet.
func NewClient(cfg *config.UpstreamTLS, secrets Secrets, now func() time.Time) (*Client, error) {
	c, err := newCommon(&cfg.Common, secrets, now)
	if err != nil {
		return nil, err
	}
	return &Client{common: c, cfg: cfg}, nil
}

// Config returns the configuration for one handshake. The error says which secret
// is missing.
func (c *Client) Config(d Dial) (*tls.Config, error) {
	e, err := c.epoch()
	if err != nil {
		return nil, err
	}
	cfg := e.config.Clone()
	cfg.NextProtos = offer(c.cfg.Common.ALPN, d)
	cfg.ServerName = c.cfg.SNI
	if cfg.ServerName == "" {
		cfg.ServerName = d.ServerName
	}
	if c.cfg.MaxSessions > 0 { // max_session_keys: 0 turns resumption off
		cfg.ClientSessionCache = &endpointSessions{host: d.Endpoint.String(), all: e.sessions}
	}
	return cfg, nil
}

func (c *Client) epoch() (*clientEpoch, error) {
	var room [4]*Secret
	m, err := c.common.current(room[:0])
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cur != nil && c.cur.material.equal(&m) {
		return c.cur, nil
	}
	e := newEpoch(m)
	cfg := c.common.baseConfig(e)
	cfg.Certificates = e.certs
	cfg.InsecureSkipVerify = true // VerifyConnection verifies, resumed sessions too
	v := &verifier{common: c.common, epoch: e}
	cfg.VerifyConnection = v.verify
	c.cur = &clientEpoch{epoch: e, config: cfg, sessions: tls.NewLRUClientSessionCache(maxSessions)}
	return c.cur, nil
}

// Facts describes a completed handshake. Call it once per connection.
func (c *Client) Facts(cs tls.ConnectionState) *stream.TLS {
	c.mu.Lock()
	local := ""
	if c.cur != nil {
		local = c.cur.localURI
	}
	c.mu.Unlock()
	f := facts(cs, local)
	f.Mutual = len(c.common.certs) > 0
	return f
}

// endpointSessions keeps sessions per endpoint: a ticket of one replica is of no
// use to another, though they share the server name.
type endpointSessions struct {
	host string
	all  tls.ClientSessionCache
}

// Get implements tls.ClientSessionCache.
func (s *endpointSessions) Get(key string) (*tls.ClientSessionState, bool) {
	return s.all.Get(s.host + "|" + key)
}

// Put implements tls.ClientSessionCache.
func (s *endpointSessions) Put(key string, cs *tls.ClientSessionState) {
	s.all.Put(s.host+"|"+key, cs)
}
