package telemetry

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// buckets are those of Envoy's histograms, which Istio's dashboards expect.
var buckets = []float64{0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000}

// Metrics are Istio's standard metrics of one proxy. Safe for concurrent use.
//
// What a request costs is one look-up in a map that nobody writes to, and atomic
// additions. Only a series that is new takes a lock.
type Metrics struct {
	// immutable
	self     *peermeta.Peer
	peerSlot int

	requests, reqMessages, rspMessages *prometheus.CounterVec
	duration, reqBytes, rspBytes       *prometheus.HistogramVec
	sent, received                     *prometheus.CounterVec
	opened, closed                     *prometheus.CounterVec
	overflow                           prometheus.Counter

	hosts interned
	cache childCache
	http  series
	tcp   series
	flows flowSet
}

// child are the metrics of one series.
type child struct {
	requests                     prometheus.Counter
	duration, reqBytes, rspBytes prometheus.Observer
	reqMessages, rspMessages     prometheus.Counter // of gRPC calls; nil for others
	set                          *labelSet
	overflow                     bool // it stands for series beyond the bound
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
		self: self, peerSlot: peerSlot,
		requests:    counter("istio_requests_total", "Requests that the proxy handled.", httpLabels),
		duration:    histogram("istio_request_duration_milliseconds", "Time from a request's first byte to its answer's last."),
		reqBytes:    histogram("istio_request_bytes", "Size of request bodies."),
		rspBytes:    histogram("istio_response_bytes", "Size of response bodies."),
		reqMessages: counter("istio_request_messages_total", "Messages that gRPC clients sent.", httpLabels),
		rspMessages: counter("istio_response_messages_total", "Messages that gRPC servers sent.", httpLabels),
		sent:        counter("istio_tcp_sent_bytes_total", "Bytes sent to clients over TCP connections.", commonLabels),
		received:    counter("istio_tcp_received_bytes_total", "Bytes received from clients over TCP connections.", commonLabels),
		opened:      counter("istio_tcp_connections_opened_total", "TCP connections opened.", commonLabels),
		closed:      counter("istio_tcp_connections_closed_total", "TCP connections closed.", commonLabels),
		overflow: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "lateen_metrics_overflow_total", Help: "Requests and connections counted under the labels \"overflow\", because there are too many series.",
		}),
	}
	for _, c := range append(m.Collectors(), m.overflow) {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Collectors are the standard metrics, for those who read them besides the registry.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.duration, m.reqBytes, m.rspBytes, m.reqMessages, m.rspMessages, m.closed, tcpCollector{m}}
}

// Done implements stream.Observer: it counts one HTTP exchange.
func (m *Metrics) Done(s *stream.Stream, o *stream.Outcome) {
	k := m.key(s, o)
	c := m.cache.get(k)
	if c == nil {
		c = m.newChild(k, s)
	}
	if c.set.use(); c.overflow {
		m.overflow.Inc()
		m.makeRoom()
	}
	c.requests.Inc()
	c.duration.Observe(float64(o.Duration) / float64(time.Millisecond))
	c.reqBytes.Observe(float64(o.BytesReceived))
	c.rspBytes.Observe(float64(o.BytesSent))
	if c.reqMessages != nil && s.GRPC.Counted {
		c.reqMessages.Add(float64(s.GRPC.RequestMessages.Load()))
		c.rspMessages.Add(float64(s.GRPC.ResponseMessages.Load()))
	}
}

// key tells which series an exchange belongs to.
func (m *Metrics) key(s *stream.Stream, o *stream.Outcome) childKey {
	k := childKey{dir: s.Conn.Dir, code: o.Reason.Code, notes: s.Notes(), status: int32(o.Status), grpc: grpcStatus(s, o)}
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
		k.mutual, k.peerURI, k.localURI = tls.Mutual, tls.PeerURI, tls.LocalURI
	}
	if k.cluster == nil {
		if k.name = s.Upstream.Cluster; k.name == "" && s.Route != nil {
			k.name = meantCluster(s.Route)
		}
	}
	if k.cluster == nil || len(k.cluster.Metadata.Services) == 0 {
		k.host = m.hosts.get(s.Request.Authority)
	}
	return k
}

// meantCluster is the cluster that a request without one was meant for: a filter has
// answered it, as a fault that aborts does. Envoy has chosen a cluster by then.
func meantCluster(r stream.RouteEntry) string {
	if r.RouteName() == refusedRoute {
		return blackHole
	}
	if route, ok := r.(*config.Route); ok && route.Forward != nil && len(route.Forward.Clusters) > 0 {
		return route.Forward.Clusters[0].Cluster.Name
	}
	return ""
}

// Requests that the outbound policy REGISTRY_ONLY refuses have no cluster: Istio
// counts them by the name of their route.
const (
	refusedRoute = "block_all"
	blackHole    = "BlackHoleCluster"
)

// What childKey.grpc holds beside a status.
const (
	notGRPC      = -1
	noGRPCStatus = -2
)

// grpcStatus finds a call's status in the answer's trailers, else in its head, else
// by its HTTP status, as Envoy does.
func grpcStatus(s *stream.Stream, o *stream.Outcome) int16 {
	if !s.GRPC.Call && !stream.IsGRPC(s.Request.Get(stream.ContentType)) {
		return notGRPC
	}
	if s.GRPC.Answered {
		return int16(s.GRPC.Status)
	}
	var fromHead stream.GRPC
	if o.Response != nil {
		fromHead.Answer(o.Response.Get(stream.GRPCStatus))
	}
	switch {
	case fromHead.Answered:
		return int16(fromHead.Status)
	case o.Status != 0:
		return int16(stream.GRPCStatusOf(o.Status))
	}
	return noGRPCStatus
}

// newChild resolves a series and remembers it.
func (m *Metrics) newChild(k childKey, s *stream.Stream) *child {
	f := facts{
		dir: k.dir, self: m.self, peer: k.peer, mutual: k.mutual, code: int(k.status), protocol: "http", flags: responseFlags(k.code, k.notes),
	}
	f.principals(k.localURI, k.peerURI)
	name := s.Upstream.Cluster
	if k.cluster == nil {
		name = k.name
	}
	f.service = m.service(k.dir, name, k.cluster, k.host)
	if f.peer == nil && k.endpoint != nil {
		f.peer = peermeta.FromEndpoint(k.endpoint.Workload)
	}
	if k.grpc != notGRPC {
		f.protocol = "grpc"
		if k.grpc >= 0 {
			f.grpc = strconv.Itoa(int(k.grpc))
		}
	}
	set, ok := m.http.admit(f.httpValues())
	labels := set.labels
	c := &child{
		set:      set,
		overflow: !ok,
		requests: m.requests.WithLabelValues(labels...),
		duration: m.duration.WithLabelValues(labels...),
		reqBytes: m.reqBytes.WithLabelValues(labels...),
		rspBytes: m.rspBytes.WithLabelValues(labels...),
	}
	if k.grpc != notGRPC {
		c.reqMessages, c.rspMessages = m.reqMessages.WithLabelValues(labels...), m.rspMessages.WithLabelValues(labels...)
	}
	m.cache.put(k, c)
	return c
}

// makeRoom gives up series that are idle, for those that come. Should they come back,
// they start at 0, as if the proxy had started anew.
func (m *Metrics) makeRoom() {
	if m.http.sweep(func(labels []string) {
		for _, v := range []interface{ DeleteLabelValues(...string) bool }{m.requests, m.duration, m.reqBytes, m.rspBytes, m.reqMessages, m.rspMessages} {
			v.DeleteLabelValues(labels...)
		}
	}) {
		m.cache.clear() // it may hold what is deleted, and holds what found no room
	}
}

// makeRoomTCP is makeRoom for the metrics of connections.
func (m *Metrics) makeRoomTCP() {
	m.tcp.sweep(func(labels []string) {
		for _, v := range []*prometheus.CounterVec{m.opened, m.closed, m.received, m.sent} {
			v.DeleteLabelValues(labels...)
		}
	})
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
func (f *facts) principals(local, peer string) {
	if !f.mutual {
		return
	}
	f.sourceID, f.destID = local, peer
	if f.dir == stream.Inbound {
		f.sourceID, f.destID = peer, local
	}
}

// Forget drops the cache, and with it the configuration nodes that it holds. The
// proxy calls it when clusters have changed.
func (m *Metrics) Forget() { m.cache.clear() }
