package router

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"google.golang.org/protobuf/proto"

	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
	"github.com/lateen-mesh/lateen/internal/proxy/timer"
	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
	"github.com/lateen-mesh/lateen/internal/testkit/pipe"
)

// endpoint is what one connection meets: it reads requests and answers, until it
// returns; then the connection is closed.
type endpoint func(c *peer)

// peer is the endpoint's side of one connection.
type peer struct {
	*pipe.End
	r  *bufio.Reader
	n  int // number of the connection, from 1
	w  *world
	id netip.AddrPort
}

// request reads one request with its body.
func (p *peer) request() (*http.Request, string, error) {
	req, err := http.ReadRequest(p.r)
	if err != nil {
		return nil, "", err
	}
	p.w.note(req)
	body, err := io.ReadAll(req.Body)
	return req, string(body), err
}

// answer writes a whole response.
func (p *peer) answer(status int, body string, headers ...string) {
	fmt.Fprintf(p, "HTTP/1.1 %d X\r\ncontent-length: %d\r\n%s\r\n%s", status, len(body),
		strings.Join(append(headers, ""), "\r\n"), body)
}

// always answers every request alike.
func always(status int, body string, headers ...string) endpoint {
	return func(p *peer) {
		for {
			if _, _, err := p.request(); err != nil {
				return
			}
			p.answer(status, body, headers...)
		}
	}
}

// world is one cluster "c" with endpoints in memory, and a router in front of it.
type world struct {
	t       testing.TB
	m       *upstream.Manager
	timers  *timer.Queue
	filter  stream.Filter
	cluster *config.Cluster
	wg      sync.WaitGroup

	mu       sync.Mutex
	dials    int             // guarded by mu
	requests []*http.Request // guarded by mu
	deaf     bool            // connections do not tell that the endpoint closed them
	stall    bool            // connections are never made
	serve    func(addr netip.AddrPort, n int) (endpoint, error)
}

func (w *world) note(r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, r)
}

// seen lists the requests that endpoints read, as "METHOD path".
func (w *world) seen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, r := range w.requests {
		list = append(list, r.Method+" "+r.RequestURI)
	}
	return list
}

func (w *world) last() *http.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.requests[len(w.requests)-1]
}

var (
	addrA = netip.MustParseAddrPort("10.0.0.1:80")
	addrB = netip.MustParseAddrPort("10.0.0.2:80")
)

func newCluster(addrs ...netip.AddrPort) *config.Cluster {
	eps := &config.Endpoints{Name: "c", Localities: []config.Locality{{}}}
	for _, a := range addrs {
		eps.Localities[0].Endpoints = append(eps.Localities[0].Endpoints, &config.Endpoint{Addr: a, Weight: 1})
	}
	no := config.Breakers{MaxConnections: 1 << 30, MaxPending: 1 << 30, MaxRequests: 1 << 30, MaxRetries: 1 << 30}
	return &config.Cluster{Name: "c", Type: config.ClusterStatic, Static: eps, Policy: config.RoundRobin,
		Breakers: [2]config.Breakers{no, no}}
}

// newWorld makes the cluster over addrs. serve says what the nth connection meets,
// or why it fails.
func newWorld(t testing.TB, o Options, serve func(addr netip.AddrPort, n int) (endpoint, error), addrs ...netip.AddrPort) *world {
	if len(addrs) == 0 {
		addrs = []netip.AddrPort{addrA}
	}
	w := &world{t: t, serve: serve, timers: timer.NewQueue(0), cluster: newCluster(addrs...)}
	quiet := slog.New(slog.DiscardHandler)
	w.m = upstream.New(upstream.Options{Dial: w.dial, Timer: w.timers, Log: quiet})
	if err := w.m.Apply([]*config.Cluster{w.cluster}, nil); err != nil {
		t.Fatal(err)
	}
	o.Timer, o.Log, o.Clusters = w.timers, quiet, w.m
	b := NewBuilder(o)
	cfg, err := b.Parse(typeURL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if w.filter, err = b.New(cfg, 0); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) dial(ctx context.Context, d upstream.Dialing) (rawio.Transport, error) {
	w.mu.Lock()
	w.dials++
	n := w.dials
	w.mu.Unlock()
	if w.stall {
		return nil, stalled(ctx)
	}
	e, err := w.serve(d.Remote, n)
	if err != nil {
		return nil, err
	}
	client, server := pipe.New()
	client.SetAddrs(netip.MustParseAddrPort("10.9.9.9:1000"), d.Remote)
	w.wg.Go(func() {
		defer server.Close()
		e(&peer{End: server, r: bufio.NewReader(server), n: n, w: w, id: d.Remote})
	})
	if w.deaf {
		return struct{ rawio.Transport }{client}, nil
	}
	return client, nil
}

// close ends everything; in a synctest bubble this must come before its end.
func (w *world) close() {
	w.m.Close()
	w.wg.Wait()
}

// route makes a route to the cluster.
func (w *world) route(edit func(*config.Forward)) *config.Route {
	f := &config.Forward{Clusters: []config.WeightedCluster{{
		Cluster: config.ClusterRef{Name: "c", Handle: w.m.Handle("c")}}}, NotFoundStatus: 503}
	if edit != nil {
		edit(f)
	}
	return &config.Route{Name: "r", Forward: f}
}

// outcome is what a client would see.
type outcome struct {
	status  int
	body    string
	code    stream.Code
	err     error
	head    *stream.Head
	up      stream.Upstream
	trailer string
}

// newStream makes a request. A body of known length comes with it.
func newStream(method, path, body string) *stream.Stream {
	s := &stream.Stream{}
	setRequest(s, method, path, body)
	return s
}

func setRequest(s *stream.Stream, method, path, body string) {
	r := &s.Request
	r.Method, r.Path = append(r.Method[:0], method...), append(r.Path[:0], path...)
	r.Authority, r.Scheme = append(r.Authority[:0], "example.com"...), append(r.Scheme[:0], "http"...)
	r.AddString(stream.Host, "example.com")
	r.AddString(stream.UserAgent, "test")
	if body != "" {
		r.Body, r.Length = stream.NewBody([]byte(body)), int64(len(body))
	}
}

// do runs one exchange as a codec would.
func (w *world) do(s *stream.Stream, route *config.Route) outcome {
	return w.doThen(s, route, func() {})
}

// doThen is do, with a step between the answer's end and the recycling.
func (w *world) doThen(s *stream.Stream, route *config.Route, then func()) outcome {
	s.Route = route
	resp, err := w.filter.Handle(s, stream.Next{})
	o := outcome{err: err}
	if rep, ok := err.(*stream.Reply); ok {
		o.status, o.body, o.code = rep.Status, rep.Body, rep.Reason.Code
	} else if r, ok := err.(stream.Reason); ok {
		o.code = r.Code
	}
	if err == nil {
		o.status = resp.Status
		o.head = new(stream.Head)
		o.head.CopyFrom(&resp.Head)
		for resp.Body != nil {
			p, err := resp.Body.Next()
			o.body += string(p)
			if err == io.EOF {
				if tr := resp.Body.Trailers(); tr != nil {
					for k, v := range tr.All() {
						o.trailer += string(k) + "=" + string(v)
					}
				}
				break
			}
			if err != nil {
				o.err = err
				if r, ok := err.(stream.Reason); ok {
					o.code = r.Code
				}
				break
			}
		}
	}
	then()
	o.up = s.Upstream
	s.Recycle()
	return o
}

func (w *world) get(route *config.Route) outcome { return w.do(newStream("GET", "/", ""), route) }

func marshal(t *testing.T, m *routerv3.Router) []byte {
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
