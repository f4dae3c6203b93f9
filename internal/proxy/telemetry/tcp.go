package telemetry

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// openedAfter is how long a connection waits for its peer's metadata before it
// is counted as opened without: a peer that is silent sends none.
const openedAfter = time.Second

// TCPFlow counts one relayed connection. Its methods may be called by several
// goroutines.
//
// What a connection does while it is open is counted when the metrics are read:
// there is no timer that would wake an idle proxy, and a reader sees no less than
// Istio's periodic reports show.
type TCPFlow struct {
	m    *Metrics
	conn *stream.Conn
	peer func() *peermeta.Peer

	mu             sync.Mutex
	bytes          func() (received, sent int64) // guarded by mu; nil: known at the end only
	cluster        string                        // guarded by mu
	node           *config.Cluster               // guarded by mu
	endpoint       *config.Endpoint              // guarded by mu
	tls            *stream.TLS                   // guarded by mu: upstream's
	connected      time.Time                     // guarded by mu
	counted, over  bool                          // guarded by mu: as opened, as closed
	received, sent int64                         // guarded by mu: counted so far
	held           *labelSet                     // guarded by mu: of opened, while it is open
}

// OpenTCP begins to count a connection. peer tells who the other side is, nil
// while that is not known.
func (m *Metrics) OpenTCP(c *stream.Conn, peer func() *peermeta.Peer) *TCPFlow {
	return &TCPFlow{m: m, conn: c, peer: peer}
}

// Count gives the bytes so far. It is called before Connected.
func (t *TCPFlow) Count(bytes func() (received, sent int64)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.bytes = bytes
}

// Connected tells where the connection was relayed to.
func (t *TCPFlow) Connected(cluster string, node *config.Cluster, ep *config.Endpoint, tls *stream.TLS) {
	t.mu.Lock()
	t.cluster, t.node, t.endpoint, t.tls, t.connected = cluster, node, ep, tls, time.Now()
	t.mu.Unlock()
	t.m.flows.add(t)
}

// Closed counts the connection's end and its bytes. Nothing is counted after it.
func (t *TCPFlow) Closed(cluster string, received, sent int64, why stream.Reason) {
	t.m.flows.remove(t)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.cluster == "" {
		t.cluster = cluster
	}
	t.open()
	t.m.tcp.hold(t.held, -1)
	labels := t.labels(why.Code).labels
	t.m.closed.WithLabelValues(labels...).Inc()
	t.add(labels, received, sent)
	t.over = true
}

// report counts what is new on an open connection.
func (t *TCPFlow) report(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	if t.peer() == nil && now.Sub(t.connected) < openedAfter {
		return
	}
	t.open()
	if t.bytes == nil {
		return
	}
	if received, sent := t.bytes(); received != t.received || sent != t.sent {
		t.add(t.labels(stream.None).labels, received, sent)
	}
}

// open counts the connection as opened. Called with mu held.
func (t *TCPFlow) open() {
	if !t.counted {
		t.counted, t.held = true, t.labels(stream.None)
		t.m.tcp.hold(t.held, 1) // else opened could fall below closed
		t.m.opened.WithLabelValues(t.held.labels...).Inc()
	}
}

// add counts the bytes that were not counted yet. Called with mu held.
func (t *TCPFlow) add(labels []string, received, sent int64) {
	t.m.received.WithLabelValues(labels...).Add(float64(max(received-t.received, 0)))
	t.m.sent.WithLabelValues(labels...).Add(float64(max(sent-t.sent, 0)))
	t.received, t.sent = received, sent
}

// labels are made at each use: it happens twice a connection, and when a reader
// finds new bytes. Called with mu held.
func (t *TCPFlow) labels(code stream.Code) *labelSet {
	f := facts{dir: t.conn.Dir, self: t.m.self, peer: t.peer(), protocol: "tcp", flags: responseFlags(code, 0)}
	tls := t.tls
	if f.dir == stream.Inbound {
		tls = t.conn.TLS
	} else if f.peer == nil && t.endpoint != nil {
		f.peer = peermeta.FromEndpoint(t.endpoint.Workload)
	}
	if tls != nil {
		f.mutual = tls.Mutual
		f.principals(tls.LocalURI, tls.PeerURI)
	}
	f.service = t.m.service(f.dir, t.cluster, t.node, "")
	set, ok := t.m.tcp.admit(f.values())
	if !ok {
		t.m.overflow.Inc()
		t.m.makeRoomTCP()
	}
	return set
}

// flowSet holds the open connections.
type flowSet struct {
	mu  sync.Mutex
	set map[*TCPFlow]struct{} // guarded by mu
}

func (s *flowSet) add(t *TCPFlow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.set == nil {
		s.set = map[*TCPFlow]struct{}{}
	}
	s.set[t] = struct{}{}
}

func (s *flowSet) remove(t *TCPFlow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, t)
}

// all copies the set, so that reporting holds up no connection.
func (s *flowSet) all() []*TCPFlow {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*TCPFlow, 0, len(s.set))
	for t := range s.set {
		out = append(out, t)
	}
	return out
}

// tcpCollector gives the metrics of open connections, brought up to date.
type tcpCollector struct{ m *Metrics }

// Describe implements prometheus.Collector.
func (c tcpCollector) Describe(out chan<- *prometheus.Desc) {
	c.m.opened.Describe(out)
	c.m.received.Describe(out)
	c.m.sent.Describe(out)
}

// Collect implements prometheus.Collector.
func (c tcpCollector) Collect(out chan<- prometheus.Metric) {
	now := time.Now()
	for _, t := range c.m.flows.all() {
		t.report(now)
	}
	c.m.opened.Collect(out)
	c.m.received.Collect(out)
	c.m.sent.Collect(out)
}
