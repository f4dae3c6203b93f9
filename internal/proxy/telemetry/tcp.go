package telemetry

import (
	"sync"
	"time"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// openedAfter is how long a connection waits for its peer's metadata before it
// is counted as opened without: a peer that is silent sends none.
const openedAfter = time.Second

// TCPFlow counts one relayed connection. Its methods may be called by several
// goroutines.
type TCPFlow struct {
	m    *Metrics
	conn *stream.Conn
	peer func() *peermeta.Peer

	mu       sync.Mutex
	cluster  string           // guarded by mu
	node     *config.Cluster  // guarded by mu
	endpoint *config.Endpoint // guarded by mu
	tls      *stream.TLS      // guarded by mu: upstream's
	counted  bool             // guarded by mu: as opened
	timer    *time.Timer      // guarded by mu
}

// OpenTCP begins to count a connection. peer tells who the other side is, nil
// while that is not known.
func (m *Metrics) OpenTCP(c *stream.Conn, peer func() *peermeta.Peer) *TCPFlow {
	return &TCPFlow{m: m, conn: c, peer: peer}
}

// Connected tells where the connection was relayed to.
func (t *TCPFlow) Connected(cluster string, node *config.Cluster, ep *config.Endpoint, tls *stream.TLS) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cluster, t.node, t.endpoint, t.tls = cluster, node, ep, tls
	t.timer = time.AfterFunc(openedAfter, t.open)
}

func (t *TCPFlow) open() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.counted {
		t.counted = true
		t.m.opened.WithLabelValues(t.labels(stream.None)...).Inc()
	}
}

// Closed counts the connection's end and its bytes.
func (t *TCPFlow) Closed(cluster string, received, sent int64, why stream.Reason) {
	t.mu.Lock()
	if t.timer != nil {
		t.timer.Stop()
	}
	if t.cluster == "" {
		t.cluster = cluster
	}
	t.mu.Unlock()
	t.open()
	t.mu.Lock()
	defer t.mu.Unlock()
	labels := t.labels(why.Code)
	t.m.closed.WithLabelValues(labels...).Inc()
	t.m.received.WithLabelValues(labels...).Add(float64(received))
	t.m.sent.WithLabelValues(labels...).Add(float64(sent))
}

// labels are made at each use: it happens twice a connection. Called with mu held.
func (t *TCPFlow) labels(code stream.Code) []string {
	f := facts{dir: t.conn.Dir, self: t.m.self, peer: t.peer(), protocol: "tcp", flags: responseFlags(code)}
	tls := t.tls
	if f.dir == stream.Inbound {
		tls = t.conn.TLS
	} else if f.peer == nil && t.endpoint != nil {
		f.peer = peermeta.FromEndpoint(t.endpoint.Workload)
	}
	f.mutual = tls != nil && tls.Mutual
	f.principals(tls)
	f.service = t.m.service(f.dir, t.cluster, t.node, "")
	return f.values()
}
