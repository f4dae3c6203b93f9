package telemetry

import (
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// buckets are those of Envoy's histograms, which Istio's dashboards expect.
var buckets = []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000}

// Bounds of what requests can make grow.
const (
	maxChildren = 2048 // resolved series in the cache; a full one starts anew
	maxHosts    = 256  // hosts as destination_service that only requests name
)

// Metrics are Istio's standard metrics of one proxy. Safe for concurrent use.
type Metrics struct {
	// immutable
	self     *peermeta.Peer
	peerSlot int

	requests                     *prometheus.CounterVec
	duration, reqBytes, rspBytes *prometheus.HistogramVec
	sent, received               *prometheus.CounterVec
	opened, closed               *prometheus.CounterVec

	mu    sync.Mutex        // serialises writers of children
	hosts map[string]string // guarded by mu: interned
	view  atomic.Pointer[map[childKey]*child]
}

// childKey tells series apart by what they come from. Comparing pointers of
// configuration nodes is cheap; a node that is gone is only a stale entry until
// the cache starts anew.
type childKey struct {
	dir      stream.Direction
	code     stream.Code
	status   int32
	grpc     bool
	mutual   bool
	cluster  *config.Cluster
	peer     *peermeta.Peer
	endpoint *config.Endpoint
	peerURI  string
	name     string // of the cluster, where its node is not known
	host     string // where neither tells the service
}

// child are the metrics of one series.
type child struct {
	requests                     prometheus.Counter
	duration, reqBytes, rspBytes prometheus.Observer
}

// NewMetrics registers the metrics of a proxy. self is the proxy's own workload;
// peerSlot is the slot of the metadata exchange filter, negative without one.
func NewMetrics(reg prometheus.Registerer, self *peermeta.Peer, peerSlot int) (*Metrics, error) {
	counter := func(name, help string, labels []string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, httpLabels)
	}
	m := &Metrics{
		self: self, peerSlot: peerSlot, hosts: map[string]string{},
		requests: counter("istio_requests_total", "Requests that the proxy handled.", httpLabels),
		duration: histogram("istio_request_duration_milliseconds", "Time from a request's first byte to its answer's last."),
		reqBytes: histogram("istio_request_bytes", "Size of request bodies."),
		rspBytes: histogram("istio_response_bytes", "Size of response bodies."),
		sent:     counter("istio_tcp_sent_bytes_total", "Bytes sent to clients over TCP connections.", commonLabels),
		received: counter("istio_tcp_received_bytes_total", "Bytes received from clients over TCP connections.", commonLabels),
		opened:   counter("istio_tcp_connections_opened_total", "TCP connections opened.", commonLabels),
		closed:   counter("istio_tcp_connections_closed_total", "TCP connections closed.", commonLabels),
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.reqBytes, m.rspBytes, m.sent, m.received, m.opened, m.closed} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Done implements stream.Observer: it counts one HTTP exchange.
func (m *Metrics) Done(s *stream.Stream, o *stream.Outcome) {
	k := childKey{dir: s.Conn.Dir, code: o.Reason.Code, status: int32(o.Status), grpc: isGRPC(s)}
	k.cluster, _ = s.Upstream.ClusterNode.(*config.Cluster)
	if m.peerSlot >= 0 {
		k.peer, _ = (*s.Slot(m.peerSlot)).(*peermeta.Peer)
	}
	tls := s.Upstream.TLS
	if k.dir == stream.Inbound {
		tls = s.Conn.TLS
	} else if k.peer == nil {
		k.endpoint, _ = s.Upstream.Endpoint.(*config.Endpoint)
	}
	if tls != nil {
		k.mutual, k.peerURI = tls.Mutual, tls.PeerURI
	}
	if k.cluster == nil {
		k.name = s.Upstream.Cluster
	}
	if k.cluster == nil || len(k.cluster.Metadata.Services) == 0 {
		k.host = m.boundHost(s.Request.Authority)
	}
	c := m.child(k, tls, s, o)
	c.requests.Inc()
	c.duration.Observe(float64(o.Duration) / float64(time.Millisecond))
	c.reqBytes.Observe(float64(o.BytesReceived))
	c.rspBytes.Observe(float64(o.BytesSent))
}

func isGRPC(s *stream.Stream) bool {
	const grpc = "application/grpc"
	t := s.Request.Get(stream.ContentType)
	return len(t) >= len(grpc) && string(t[:len(grpc)]) == grpc
}

// boundHost gives the host as a label value, for a bounded number of hosts.
func (m *Metrics) boundHost(host []byte) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if h, ok := m.hosts[string(host)]; ok {
		return h
	}
	if len(m.hosts) >= maxHosts {
		return unknown
	}
	h := string(host)
	m.hosts[h] = h
	return h
}

func (m *Metrics) child(k childKey, tls *stream.TLS, s *stream.Stream, o *stream.Outcome) *child {
	if v := m.view.Load(); v != nil {
		if c := (*v)[k]; c != nil {
			return c
		}
	}
	// The key must not hold views into the connection's buffers; its strings are
	// copies or configuration.
	f := facts{
		dir: k.dir, self: m.self, peer: k.peer, mutual: k.mutual, code: o.Status, protocol: "http", flags: responseFlags(k.code),
	}
	f.principals(tls)
	f.service = m.service(k.dir, s.Upstream.Cluster, k.cluster, k.host)
	if f.peer == nil && k.endpoint != nil {
		f.peer = peermeta.FromEndpoint(k.endpoint.Workload)
	}
	if k.grpc {
		f.protocol = "grpc"
		if o.Response != nil {
			f.grpc = string(o.Response.Get(stream.GRPCStatus))
		}
	}
	labels := f.httpValues()
	c := &child{
		requests: m.requests.WithLabelValues(labels...),
		duration: m.duration.WithLabelValues(labels...),
		reqBytes: m.reqBytes.WithLabelValues(labels...),
		rspBytes: m.rspBytes.WithLabelValues(labels...),
	}
	if !k.grpc { // the status may differ under the same key
		m.remember(k, c)
	}
	return c
}

// service finds the destination service. Inbound without metadata, it is the host
// that the client named.
func (m *Metrics) service(dir stream.Direction, name string, c *config.Cluster, host string) config.Service {
	s := serviceOf(name, c, host)
	if dir == stream.Inbound && s.Namespace == "" {
		s.Namespace = m.self.Namespace
	}
	return s
}

// principals takes the two ends' identities from the connection between them.
func (f *facts) principals(tls *stream.TLS) {
	if tls == nil || !tls.Mutual {
		return
	}
	f.sourceID, f.destID = tls.LocalURI, tls.PeerURI
	if f.dir == stream.Inbound {
		f.sourceID, f.destID = tls.PeerURI, tls.LocalURI
	}
}

func (m *Metrics) remember(k childKey, c *child) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := map[childKey]*child{}
	if v := m.view.Load(); v != nil && len(*v) < maxChildren {
		next = maps.Clone(*v)
	}
	next[k] = c
	m.view.Store(&next)
}

// Forget drops the cache, and with it the configuration nodes that it holds. The
// proxy calls it when clusters have changed.
func (m *Metrics) Forget() { m.view.Store(nil) }
