package http1_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/http1"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/router"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/timer"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

const routerURL = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"

// world is the proxy's way from a client's connection to an endpoint's, in memory.
type world struct {
	t      testing.TB
	o      http1.ServerOptions
	route  *config.Route
	filter stream.Filter
	m      *upstream.Manager
	wg     sync.WaitGroup
	script [][]step // of each connection to the endpoint; nil: answers "ok"

	mu    sync.Mutex
	seen  []string // guarded by mu: exchanges
	conns []*party // guarded by mu: connections of the endpoint
	quit  bool     // guarded by mu
}

func newWorld(t testing.TB, c *corpusCase) *world {
	w := &world{t: t, route: &config.Route{Name: "r", Forward: &config.Forward{NotFoundStatus: 503}}}
	w.o.Observers = []stream.Observer{w}
	if c.server != "" {
		w.script = [][]step{nil}
		for _, s := range parseScript(t, c.server) {
			if s.do == "connection" {
				w.script = append(w.script, nil)
				continue
			}
			last := len(w.script) - 1
			w.script[last] = append(w.script[last], s)
		}
	}
	if err := c.options(w.option); err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	timers := timer.NewQueue(0)
	w.m = upstream.New(upstream.Options{Dial: w.dial, Timer: timers, Log: quiet})
	no := config.Breakers{MaxConnections: 1 << 30, MaxPending: 1 << 30, MaxRequests: 1 << 30, MaxRetries: 1 << 30}
	cluster := &config.Cluster{Name: "c", Type: config.ClusterStatic, Policy: config.RoundRobin, Breakers: [2]config.Breakers{no, no},
		Static: &config.Endpoints{Name: "c", Localities: []config.Locality{{Endpoints: []*config.Endpoint{{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1}}}}}}
	if err := w.m.Apply([]*config.Cluster{cluster}, nil); err != nil {
		t.Fatal(err)
	}
	w.route.Forward.Clusters = []config.WeightedCluster{{Cluster: config.ClusterRef{Name: "c", Handle: w.m.Handle("c")}}}
	raw, err := proto.Marshal(&routerv3.Router{SuppressEnvoyHeaders: true})
	if err != nil {
		t.Fatal(err)
	}
	b := router.NewBuilder(router.Options{Clusters: w.m, Timer: timers, Log: quiet})
	cfg, err := b.Parse(routerURL, raw)
	if err != nil {
		t.Fatal(err)
	}
	if w.filter, err = b.New(cfg, 0); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) option(name, value string) (err error) {
	d := map[string]*time.Duration{"headers-timeout": &w.o.HeadersTimeout, "request-timeout": &w.o.RequestTimeout,
		"idle-timeout": &w.o.IdleTimeout, "stream-idle-timeout": &w.o.StreamIdleTimeout, "route-timeout": &w.route.Forward.Timeout}[name]
	switch {
	case name == "http10":
		w.o.HTTP10 = true
	case name == "upgrade":
		w.o.Upgrades = append(w.o.Upgrades, value)
	case d == nil:
		return fmt.Errorf("unknown")
	default:
		*d, err = time.ParseDuration(value)
	}
	return err
}

// Handle implements stream.Handler: the router alone.
func (w *world) Handle(s *stream.Stream) (*stream.Response, error) {
	s.Route = w.route
	return w.filter.Handle(s, stream.Next{})
}

// Done implements stream.Observer.
func (w *world) Done(s *stream.Stream, o *stream.Outcome) {
	line := fmt.Sprintf("%s %s", s.Request.Method, s.Request.Path)
	if len(s.Request.Method) == 0 {
		line = "-"
	}
	line += fmt.Sprintf(" %d", o.Status)
	if o.Reason.Code != stream.None {
		line += " " + o.Reason.Error()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, line+"\n")
}

func (w *world) reasons() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.seen, "")
}

// connect makes a client's connection.
func (w *world) connect() *party {
	client, server := pipe.New()
	c := http1.NewServerConn(server, &stream.Conn{Remote: server.RemoteAddr()}, w.o)
	w.wg.Go(func() { c.Serve(w) })
	return newParty(client, 10*time.Millisecond, w.wg.Go)
}

// dial makes a connection to the endpoint.
func (w *world) dial(context.Context, upstream.Dialing) (rawio.Transport, error) {
	near, far := pipe.New()
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.conns)
	p := newParty(far, time.Millisecond, w.wg.Go)
	w.conns = append(w.conns, p)
	if w.quit {
		far.Close()
	}
	w.wg.Go(func() {
		switch {
		case w.script == nil:
			for p.request() {
				if !p.play(w.t, []step{{bytes: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"}}) {
					return
				}
			}
		case n < len(w.script):
			p.play(w.t, w.script[n])
		}
	})
	return near, nil
}

// settle waits until nothing happens any more: longer than the codec lingers.
func (w *world) settle() { time.Sleep(3 * time.Second) }

// endpoints is what the endpoint's connections received.
func (w *world) endpoints() string {
	w.mu.Lock()
	conns := slices.Clone(w.conns)
	w.mu.Unlock()
	var parts []string
	for _, p := range conns {
		parts = append(parts, p.transcript())
	}
	return strings.Join(parts, "@connection\n")
}

// close ends everything, which must come before the bubble's end.
func (w *world) close() {
	w.mu.Lock()
	w.quit = true
	conns := slices.Clone(w.conns)
	w.mu.Unlock()
	for _, p := range conns {
		p.end.Close()
	}
	w.m.Close()
	w.wg.Wait()
}
