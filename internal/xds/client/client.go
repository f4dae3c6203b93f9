package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

// Wildcard subscribes to every resource of a type.
const Wildcard = "*"

// Options configure a Client. Target and Node are required.
type Options struct {
	// Target is "unix:///path" or "host:port".
	Target string
	// Dial replaces the dialer, where the server is reached by another network
	// namespace or a pipe. It is given Target.
	Dial func(ctx context.Context, target string) (net.Conn, error)
	// Conn is used instead of connections of the client's own, where several services
	// share one; Target then only names it in the log. It stays the caller's.
	Conn grpc.ClientConnInterface
	// TLS is nil for plain text (a Unix socket, or a loopback).
	TLS *tls.Config
	// Token, if set, gives the bearer token of each new stream.
	Token func() (string, error)
	Node  *corev3.Node
	Log   *slog.Logger // nil: silent
	// MinBackoff and MaxBackoff bound the pause between connections, which
	// doubles and is jittered; 0 takes 100 ms and 10 s.
	MinBackoff, MaxBackoff time.Duration
}

// Resource is one resource as it was received.
type Resource struct {
	Name    string
	Version string
	Body    []byte // the resource's own message, without its Any
}

// Handler takes what the server sends. Update is called by one goroutine at a
// time. Rejections, by resource name, become a NACK: the Handler keeps what it
// had for these names. It may call Subscribe and Unsubscribe.
type Handler interface {
	Update(ctx context.Context, typeURL string, added []Resource, removed []string) (rejected map[string]error)
}

// HandlerFunc lets a function be a Handler.
type HandlerFunc func(ctx context.Context, typeURL string, added []Resource, removed []string) map[string]error

// Update calls f.
func (f HandlerFunc) Update(ctx context.Context, typeURL string, added []Resource, removed []string) map[string]error {
	return f(ctx, typeURL, added, removed)
}

// TypeStatus is what is known of the resources of one type.
type TypeStatus struct {
	TypeURL   string
	Resources int       // accepted ones
	Version   string    // system version of the last response
	Updated   time.Time // of the last response; zero if there was none
	Rejected  string    // text of the last NACK; "" after an ACK
}

// Client is one proxy's ADS client. Its methods are safe for concurrent use.
type Client struct {
	opts Options
	log  *slog.Logger
	wake chan struct{} // one slot: there is something to send

	beside func(context.Context, grpc.ClientConnInterface) // nil: nothing

	mu        sync.Mutex
	connected bool              // guarded by mu
	lastErr   error             // guarded by mu: why the last stream ended
	node      *corev3.Node      // guarded by mu
	hangUp    func()            // guarded by mu: ends the open stream; nil: there is none
	types     map[string]*watch // guarded by mu
	order     []string          // guarded by mu: types in order of first subscription
	acks      []*discoveryv3.DeltaDiscoveryRequest
}

// New makes a client; Run connects it.
func New(o Options) (*Client, error) {
	if o.Target == "" && o.Dial == nil && o.Conn == nil {
		return nil, errors.New("xds client: no target")
	}
	if o.Node.GetId() == "" {
		return nil, errors.New("xds client: the node has no id")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.MinBackoff == 0 {
		o.MinBackoff = 100 * time.Millisecond
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 10 * time.Second
	}
	return &Client{opts: o, log: o.Log, wake: make(chan struct{}, 1), node: o.Node, types: map[string]*watch{}}, nil
}

// errHungUp ends a stream to whose server the client has something new to say, which
// only the first requests of a stream can tell.
var errHungUp = errors.New("a new stream is begun")

// SetNode replaces the node, as when a pod's labels change: a stream that is open is
// ended, and the next one tells the new node. What was received stays.
func (c *Client) SetNode(n *corev3.Node) {
	c.mu.Lock()
	c.node = n
	hangUp := c.hangUp
	c.mu.Unlock()
	if hangUp != nil {
		hangUp()
	}
}

// Seed says that resources are there already, from an earlier run: the server is told
// their versions and sends what differs. A stream that is open is ended, since its
// server does not know of them.
func (c *Client) Seed(typeURL string, versions map[string]string) {
	c.mu.Lock()
	w := c.watch(typeURL)
	for name, v := range versions {
		if w.names[Wildcard] || w.names[name] {
			w.versions[name] = v
		}
	}
	hangUp := c.hangUp
	c.mu.Unlock()
	if hangUp != nil {
		hangUp()
	}
}

// Connected reports whether a stream is open, and why the last one ended.
func (c *Client) Connected() (ok bool, last error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connected, c.lastErr
}

// Status tells what was received, in order of first subscription.
func (c *Client) Status() []TypeStatus {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []TypeStatus
	for _, url := range c.order {
		w := c.types[url]
		s := w.status
		s.TypeURL, s.Resources = url, len(w.versions)
		out = append(out, s)
	}
	return out
}

// Beside has run called on the connection of each stream, with the credentials of the
// stream in its context, once the server has answered; run must return when the context
// ends. It is for what a proxy and its control plane say besides ADS, and must be called
// before Run.
func (c *Client) Beside(run func(ctx context.Context, conn grpc.ClientConnInterface)) { c.beside = run }

// Run keeps a stream to the server until ctx ends, and returns ctx's error. A
// broken stream is opened again after a jittered, growing pause.
func (c *Client) Run(ctx context.Context, h Handler) error {
	pause := c.opts.MinBackoff
	for {
		heard, err := c.session(ctx, h)
		c.setConnected(false, err)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if heard {
			pause = c.opts.MinBackoff
		}
		if errors.Is(err, errHungUp) {
			continue
		}
		wait := pause/2 + rand.N(pause)
		c.log.Warn("control plane connection lost", "target", c.opts.Target, "err", err, "retry", wait)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, c.opts.MaxBackoff)
	}
}

func (c *Client) setConnected(ok bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected, c.lastErr = ok, err
}

// dial makes a connection of its own per stream: grpc's own back-off would hide
// why a connection fails.
func (c *Client) dial() (*grpc.ClientConn, error) {
	creds := insecure.NewCredentials()
	if c.opts.TLS != nil {
		creds = credentials.NewTLS(c.opts.TLS)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1 << 30)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		// Many proxies may live in one process: no 64 KiB of buffers for each.
		grpc.WithReadBufferSize(4 << 10), grpc.WithWriteBufferSize(4 << 10), grpc.WithSharedWriteBuffer(true),
		grpc.WithNoProxy(),
	}
	target := c.opts.Target
	if d := c.opts.Dial; d != nil {
		opts = append(opts, grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return d(ctx, target) }))
		target = "passthrough:///xds"
	} else if !strings.Contains(target, "://") {
		target = "passthrough:///" + target
	}
	return grpc.NewClient(target, opts...)
}

// connect gives the connection for a stream, and what ends it.
func (c *Client) connect() (grpc.ClientConnInterface, func(), error) {
	if c.opts.Conn != nil {
		return c.opts.Conn, func() {}, nil
	}
	conn, err := c.dial()
	if err != nil {
		return nil, nil, fmt.Errorf("dial %s: %w", c.opts.Target, err)
	}
	return conn, func() { _ = conn.Close() }, nil // the stream has ended
}

// session runs one stream to its end. heard says whether the server answered.
func (c *Client) session(ctx context.Context, h Handler) (heard bool, err error) {
	conn, closeConn, err := c.connect()
	if err != nil {
		return false, err
	}
	defer closeConn()
	ctx, end := context.WithCancelCause(ctx)
	cancel := func() { end(context.Canceled) }
	defer cancel()
	c.mu.Lock()
	c.hangUp = func() { end(errHungUp) }
	c.mu.Unlock()
	defer func() {
		if errors.Is(context.Cause(ctx), errHungUp) {
			err = errHungUp
		}
		c.mu.Lock()
		c.hangUp = nil
		c.mu.Unlock()
	}()
	if c.opts.Token != nil {
		token, err := c.opts.Token()
		if err != nil {
			return false, fmt.Errorf("token for the control plane: %w", err)
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	}
	s, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return false, err
	}
	c.restart()
	var beside sync.WaitGroup
	defer beside.Wait()
	defer cancel()
	sent := make(chan error, 1)
	go func() {
		sent <- c.sendAll(ctx, s)
		cancel()
	}()
	for {
		resp, rerr := s.Recv()
		if rerr != nil {
			cancel()
			if serr := <-sent; serr != nil && !errors.Is(serr, context.Canceled) {
				rerr = errors.Join(rerr, serr)
			}
			return heard, rerr
		}
		if !heard {
			heard = true
			c.setConnected(true, nil)
			c.log.Info("control plane connected", "target", c.opts.Target)
			if c.beside != nil {
				beside.Go(func() { c.beside(ctx, conn) })
			}
		}
		c.receive(ctx, h, resp)
	}
}
