package telemetry

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// sums adds up the values of a counter by the values of one label.
func sums(t *testing.T, reg *prometheus.Registry, metric, label string) map[string]float64 {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != metric {
			continue
		}
		for _, x := range f.Metric {
			key := ""
			for _, l := range x.Label {
				if l.GetName() == label {
					key = l.GetValue()
				}
			}
			out[key] += x.GetCounter().GetValue()
		}
	}
	return out
}

// TestOverflow: beyond the bound, exchanges are counted under one series, and are
// not lost.
func TestOverflow(t *testing.T) {
	m, reg := newMetrics(t)
	o := &stream.Outcome{Status: 200, Response: &stream.Response{}}
	const n = maxSeries + 300
	for range 2 {
		for i := range n {
			s := done(stream.Outbound)
			s.Upstream.ClusterNode = &config.Cluster{Metadata: config.Metadata{Services: []config.Service{{Host: fmt.Sprint("h", i)}}}}
			m.Done(s, o)
		}
	}
	got := sums(t, reg, "istio_requests_total", "destination_service")
	if len(got) != maxSeries+1 || got[overflowValue] != 2*300 || got["h7"] != 2 {
		t.Errorf("%d series, %v of them overflow", len(got), got[overflowValue])
	}
	if v := sums(t, reg, "lateen_metrics_overflow_total", ""); v[""] != 2*300 {
		t.Errorf("overflow counter %v", v)
	}
}

// TestOverflowEnds: label sets that nobody uses make room for others, those in use
// stay, and what comes back starts at 0.
func TestOverflowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, reg := newMetrics(t)
		o := &stream.Outcome{Status: 200, Response: &stream.Response{}}
		streams := map[int]*stream.Stream{}
		ask := func(i int) {
			s := streams[i]
			if s == nil {
				s = done(stream.Outbound)
				s.Upstream.ClusterNode = &config.Cluster{Metadata: config.Metadata{Services: []config.Service{{Host: fmt.Sprint("h", i)}}}}
				streams[i] = s
			}
			m.Done(s, o)
		}
		for i := range maxSeries {
			ask(i)
		}
		open := m.OpenTCP(&stream.Conn{}, func() *peermeta.Peer { return nil })
		open.Connected("open", nil, nil, nil)
		time.Sleep(openedAfter)
		open.report(time.Now())
		flow := func(i int) {
			f := m.OpenTCP(&stream.Conn{}, func() *peermeta.Peer { return nil })
			f.Closed(fmt.Sprint("outbound|80||t", i), 1, 1, stream.Reason{})
		}
		for i := range maxSeries {
			flow(i)
		}
		// A peer that is new, one that was there, and a connection that is open and silent.
		for range 30 {
			time.Sleep(time.Minute)
			ask(7)
			ask(maxSeries)
			flow(7)
			flow(maxSeries)
		}
		got := sums(t, reg, "istio_requests_total", "destination_service")
		if len(got) != 3 || got["h7"] != 31 || got[fmt.Sprint("h", maxSeries)] == 0 || got[fmt.Sprint("h", maxSeries)]+got[overflowValue] != 30 {
			t.Errorf("%d series: %v", len(got), got)
		}
		if n := m.cache.size(); n > 3 {
			t.Errorf("%d series are cached", n)
		}
		tcp := sums(t, reg, "istio_tcp_connections_opened_total", "destination_service")
		if len(tcp) != 4 || tcp["t7"] != 31 || tcp["unknown"] != 1 || tcp[fmt.Sprint("t", maxSeries)] == 0 {
			t.Errorf("%d series of connections: %v", len(tcp), tcp)
		}
		ask(1)
		if got := sums(t, reg, "istio_requests_total", "destination_service"); got["h1"] != 1 {
			t.Errorf("h1 came back with %v", got["h1"])
		}
		before := sums(t, reg, "lateen_metrics_overflow_total", "")[""]
		ask(maxSeries)
		flow(maxSeries)
		if after := sums(t, reg, "lateen_metrics_overflow_total", "")[""]; after != before {
			t.Errorf("still overflowing")
		}
		open.Closed("", 0, 0, stream.Reason{})
	})
}

// TestUseKeeps: a series that is in use stays, though its look-up is cached.
func TestUseKeeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, _ := newMetrics(t)
		s, o := done(stream.Outbound), &stream.Outcome{Status: 200, Response: &stream.Response{}}
		for range 5 {
			m.Done(s, o)
			time.Sleep(idleFor * 6 / 10)
			m.http.sweep(func(labels []string) { t.Errorf("%v is gone", labels) })
		}
		gone := 0
		for range 3 {
			time.Sleep(idleFor * 6 / 10)
			m.http.sweep(func([]string) { gone++ })
		}
		if gone != 1 {
			t.Errorf("%d are gone without use", gone)
		}
	})
}

func TestCacheKeepsWhatIsNew(t *testing.T) {
	var c childCache
	kids := map[int32]*child{}
	for i := range int32(1000) {
		kids[i] = &child{}
		c.put(childKey{status: i}, kids[i])
		for j := range i + 1 {
			if c.get(childKey{status: j}) != kids[j] {
				t.Fatalf("%d is lost after %d", j, i)
			}
		}
	}
	if c.view.Load() == nil {
		t.Error("every look-up takes the lock")
	}
	if c.clear(); c.size() != 0 || c.get(childKey{status: 1}) != nil {
		t.Error("not empty")
	}
}

func TestFlags(t *testing.T) {
	for code := stream.None; code <= stream.Internal; code++ {
		flag := code.Flag()
		for notes, want := range map[stream.Notes]map[string]bool{
			0:                    {flag: true},
			stream.NoteDelayed:   {flag: true, "DI": true},
			stream.NoteExhausted: {flag: true, "URX": true},
		} {
			delete(want, "")
			n := 0
			for f := range want {
				n += len(f) + 1
			}
			if got := stream.Flags(code, notes); len(got) != max(n-1, 0) {
				t.Errorf("%s with %d: %q, want %v", code, notes, got, want)
			}
		}
	}
	for want, got := range map[string]string{
		"URX,UF":    stream.Flags(stream.ConnectFailure, stream.NoteExhausted),
		"DI,FI":     stream.Flags(stream.FaultAbort, stream.NoteDelayed),
		"DI,URX,UH": stream.Flags(stream.NoHealthyUpstream, stream.NoteDelayed|stream.NoteExhausted),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestNotesInLabels(t *testing.T) {
	m, reg := newMetrics(t)
	s, o := done(stream.Outbound), &stream.Outcome{Status: 503, Reason: stream.Reason{Code: stream.UpstreamReset}}
	m.Done(s, o)
	s.RetriesExhausted, s.Delayed = true, true
	m.Done(s, o)
	got := sums(t, reg, "istio_requests_total", "response_flags")
	if len(got) != 2 || got["UC"] != 1 || got["DI,URX,UC"] != 1 {
		t.Errorf("%v", got)
	}
}

func TestGRPC(t *testing.T) {
	m, reg := newMetrics(t)
	call := func(prepare func(*stream.Stream, *stream.Outcome)) {
		s, o := done(stream.Outbound), &stream.Outcome{Status: 200, Response: &stream.Response{}}
		s.GRPC.Call = true
		prepare(s, o)
		m.Done(s, o)
	}
	for range 2 {
		call(func(s *stream.Stream, _ *stream.Outcome) { // in the trailers
			s.GRPC.Answer([]byte("5"))
			s.GRPC.Counted = true
			s.GRPC.RequestMessages.Store(3)
			s.GRPC.ResponseMessages.Store(4)
		})
	}
	call(func(s *stream.Stream, o *stream.Outcome) { s.GRPC.Answer([]byte("0")) })
	call(func(s *stream.Stream, o *stream.Outcome) { o.Response.AddString(stream.GRPCStatus, "14") })
	call(func(s *stream.Stream, o *stream.Outcome) { o.Status = 503 })
	call(func(s *stream.Stream, o *stream.Outcome) { o.Status, o.Response = 0, nil })
	got := sums(t, reg, "istio_requests_total", "grpc_response_status")
	if len(got) != 4 || got["5"] != 2 || got["0"] != 1 || got["14"] != 2 || got[""] != 1 {
		t.Errorf("%v", got)
	}
	for metric, want := range map[string]float64{"istio_request_messages_total": 6, "istio_response_messages_total": 8} {
		if got := sums(t, reg, metric, "grpc_response_status"); got["5"] != want {
			t.Errorf("%s: %v", metric, got)
		}
	}
	if got := sums(t, reg, "istio_requests_total", "request_protocol"); got["grpc"] != 6 {
		t.Errorf("%v", got)
	}
}

// TestOpenConnections: what an open connection has moved shows when the metrics
// are read, and nothing is counted twice.
func TestOpenConnections(t *testing.T) {
	m, reg := newMetrics(t)
	var peer *peermeta.Peer
	received, sent := int64(0), int64(0)
	f := m.OpenTCP(&stream.Conn{}, func() *peermeta.Peer { return peer })
	f.Count(func() (int64, int64) { return received, sent })
	f.Connected("outbound|80||a.b.svc.cluster.local", nil, nil, nil)
	check := func(when string, opened, in, out, closed float64) {
		t.Helper()
		for metric, want := range map[string]float64{
			"istio_tcp_connections_opened_total": opened, "istio_tcp_received_bytes_total": in, "istio_tcp_sent_bytes_total": out, "istio_tcp_connections_closed_total": closed,
		} {
			total := 0.0
			for _, v := range sums(t, reg, metric, "response_flags") {
				total += v
			}
			if total != want {
				t.Errorf("%s: %s is %v, want %v", when, metric, total, want)
			}
		}
	}
	received, sent = 10, 20
	check("the peer may still tell who it is", 0, 0, 0, 0)
	peer = &peermeta.Peer{Workload: "w2"}
	check("it did", 1, 10, 20, 0)
	check("again", 1, 10, 20, 0)
	received, sent = 11, 40
	check("more", 1, 11, 40, 0)
	f.Closed("", 12, 41, stream.Reason{Code: stream.IdleTimeout})
	check("closed", 1, 12, 41, 1)
	if n := len(m.flows.all()); n != 0 {
		t.Errorf("%d flows are open", n)
	}
	f.report(time.Now().Add(time.Hour))
	check("after the end", 1, 12, 41, 1)

	silent := m.OpenTCP(&stream.Conn{}, func() *peermeta.Peer { return nil })
	silent.Connected("c", nil, nil, nil)
	silent.report(time.Now().Add(openedAfter))
	check("a peer that says nothing", 2, 12, 41, 1)
}
