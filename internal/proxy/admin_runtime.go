package proxy

import (
	"encoding/json"
	"iter"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"runtime/debug"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/internal/proxy/overload"
)

// profiles serves Go's profiles of the process under /debug/pprof/, to clients on
// this machine: they show what is in memory, and cost time.
func profiles(mux *http.ServeMux) {
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline, "/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol": pprof.Symbol, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.HandleFunc(path, localOnly(h))
	}
}

// localOnly refuses clients that come neither over loopback nor a Unix socket.
func localOnly(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
			if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
				http.Error(w, "profiles are for clients on this machine", http.StatusForbidden)
				return
			}
		}
		h(w, r)
	}
}

// pageMemory tells of the process's memory under the names of Envoy's page: in use,
// held by the heap, given back to the system, free in the heap.
func (p *Proxy) pageMemory(w http.ResponseWriter, _ *http.Request) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	writeJSON(w, &adminv3.Memory{
		Allocated: m.HeapAlloc, HeapSize: m.HeapSys - m.HeapReleased, PageheapUnmapped: m.HeapReleased,
		PageheapFree: m.HeapIdle - m.HeapReleased, TotalThreadCache: m.MCacheInuse, TotalPhysicalBytes: m.Sys - m.HeapReleased,
	})
}

// runtimeState is the page /overload.
type runtimeState struct {
	Step        string         `json:"step"`
	Why         string         `json:"why,omitempty"`
	Resources   map[string]use `json:"resources"`
	ShedNormal  float64        `json:"shedShare"`
	ShedHigh    float64        `json:"shedShareHighPriority"`
	Concurrency int            `json:"concurrency"`
	MemoryLimit int64          `json:"memoryLimit,omitempty"`
	LimitFrom   string         `json:"memoryLimitFrom,omitempty"`
	GCPercent   int            `json:"gcPercent,omitempty"`
}

type use struct {
	Used     int64   `json:"used"`
	Max      int64   `json:"max,omitempty"`
	Pressure float64 `json:"pressure"`
}

func (p *Proxy) pageOverload(w http.ResponseWriter, _ *http.Request) {
	m := p.opts.Overload
	s := runtimeState{Step: m.Step().String(), Resources: map[string]use{}, Concurrency: runtime.GOMAXPROCS(0)}
	if m.Step() > overload.Normal {
		s.Why = m.Why()
	}
	s.ShedNormal, s.ShedHigh = m.Shares()
	for name, r := range m.Usage().All() {
		s.Resources[name] = use{r.Used, r.Max, r.Pressure()}
	}
	if r := p.opts.Runtime; r != nil {
		s.MemoryLimit, s.LimitFrom = r.MemoryLimit(), r.MemoryFrom
		if r.Pacer != nil {
			s.GCPercent = r.Pacer.Percent()
		}
	}
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	_ = e.Encode(s) // the reader went away: nothing to do
}

// options are what the process was started with, as /server_info shows them.
func (p *Proxy) options() *adminv3.CommandLineOptions {
	o := &adminv3.CommandLineOptions{Concurrency: uint32(runtime.GOMAXPROCS(0))}
	if d := p.opts.DrainTime; d > 0 {
		o.DrainTime = durationpb.New(d)
	}
	return o
}

// processStats yields what /stats shows of the process, under Envoy's names where
// it has them.
func (p *Proxy) processStats() iter.Seq2[string, uint64] {
	return func(yield func(string, uint64) bool) {
		var mem runtime.MemStats
		runtime.ReadMemStats(&mem)
		m, l := p.opts.Overload, p.listeners.Stats()
		active := func(s overload.Step) uint64 {
			if m.Step() >= s {
				return 1
			}
			return 0
		}
		normal, high := m.Shares()
		type entry struct {
			name  string
			value uint64
		}
		list := []entry{
			{"access_log.dropped", p.sinks.Dropped()},
			{"listener.downstream_cx_overload_reject", l.Overloaded.Load()},
			{"listener.defects", l.Panics.Load()},
			{"overload.changes", m.Stats().Changes.Load()},
			{"overload.connections_ended", m.Stats().Eased.Load()},
			{"overload.connections_refused", m.Stats().Refused.Load()},
			{"overload.requests_shed", m.Stats().Shed.Load()},
			{"overload.envoy.overload_actions.disable_http_keepalive.active", active(overload.Ease)},
			{"overload.envoy.overload_actions.stop_accepting_connections.active", active(overload.Refuse)},
			{"overload.envoy.overload_actions.stop_accepting_requests.scale_percent", uint64(100 * normal)},
			{"overload.stop_accepting_high_priority_requests.scale_percent", uint64(100 * high)},
		}
		for name, r := range m.Usage().All() {
			list = append(list, entry{"overload." + name + ".pressure", uint64(100 * r.Pressure())}, entry{"overload." + name + ".used", uint64(max(r.Used, 0))})
		}
		list = append(list, entry{"server.concurrency", uint64(runtime.GOMAXPROCS(0))},
			entry{"server.goroutines", uint64(runtime.NumGoroutine())},
			entry{"server.memory_allocated", mem.HeapAlloc}, entry{"server.memory_heap_size", mem.HeapSys - mem.HeapReleased},
			entry{"server.memory_physical_size", mem.Sys - mem.HeapReleased}, entry{"server.memory_limit", memoryLimit()},
			entry{"server.total_connections", uint64(p.Connections())})
		for _, e := range list {
			if !yield(e.name, e.value) {
				return
			}
		}
	}
}

// memoryLimit is the soft limit in force, 0 for none.
func memoryLimit() uint64 {
	const none = 1 << 62
	if l := debug.SetMemoryLimit(-1); l < none {
		return uint64(l)
	}
	return 0
}
