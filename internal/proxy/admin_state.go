package proxy

import (
	"fmt"
	"net/http"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/internal/proxy/upstream"
)

// writeJSON writes a message as Envoy's admin pages do: field names as in the
// proto.
func writeJSON(w http.ResponseWriter, m proto.Message) {
	_, zero := m.(*adminv3.ServerInfo) // its state LIVE is a zero
	b, err := (protojson.MarshalOptions{UseProtoNames: true, Multiline: true, Indent: " ", EmitDefaultValues: zero}).Marshal(m)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(append(b, '\n')) // the reader went away: nothing to do
}

func (p *Proxy) pageServerInfo(w http.ResponseWriter, _ *http.Request) {
	state := adminv3.ServerInfo_State(adminv3.ServerInfo_State_value[p.stateName()])
	up := durationpb.New(time.Since(p.started).Truncate(time.Second))
	writeJSON(w, &adminv3.ServerInfo{
		Version: "lateen-proxy/" + p.opts.Version + "/" + runtime.Version(), State: state, Node: p.opts.Node,
		UptimeCurrentEpoch: up, UptimeAllEpochs: up, CommandLineOptions: p.options(),
	})
}

func (p *Proxy) pageListeners(w http.ResponseWriter, r *http.Request) {
	out := &adminv3.Listeners{}
	for _, i := range p.listeners.Listeners() {
		addr := i.Config.Addr
		s := &adminv3.ListenerStatus{Name: i.Config.Name, LocalAddress: socketAddress(addr.Addr().String(), addr.Port())}
		if len(i.Bound) > 0 {
			s.LocalAddress = socketAddress(i.Bound[0].Addr().String(), i.Bound[0].Port())
			for _, b := range i.Bound[1:] {
				s.AdditionalLocalAddresses = append(s.AdditionalLocalAddresses, socketAddress(b.Addr().String(), b.Port()))
			}
		}
		out.ListenerStatuses = append(out.ListenerStatuses, s)
	}
	if r.URL.Query().Get("format") == "json" {
		writeJSON(w, out)
		return
	}
	plain(w)
	for _, s := range out.ListenerStatuses {
		a := s.LocalAddress.GetSocketAddress()
		fmt.Fprintf(w, "%s::%s:%d\n", s.Name, a.GetAddress(), a.GetPortValue())
	}
}

func socketAddress(addr string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: addr, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

func (p *Proxy) pageClusters(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("format") == "json" {
		out := &adminv3.Clusters{}
		for h := range p.clusters.Clusters() {
			out.ClusterStatuses = append(out.ClusterStatuses, clusterStatus(h))
		}
		writeJSON(w, out)
		return
	}
	plain(w)
	for h := range p.clusters.Clusters() {
		writeCluster(w, h)
	}
}

// writeCluster writes a cluster as the lines of Envoy's page.
func writeCluster(w http.ResponseWriter, h *upstream.Handle) {
	name, c := h.Name(), h.Config()
	if c == nil {
		return // removed meanwhile
	}
	fmt.Fprintf(w, "%s::observability_name::%s\n", name, name)
	for i, prio := range []string{"default_priority", "high_priority"} {
		b := c.Breakers[i]
		fmt.Fprintf(w, "%s::%s::max_connections::%d\n", name, prio, b.MaxConnections)
		fmt.Fprintf(w, "%s::%s::max_pending_requests::%d\n", name, prio, b.MaxPending)
		fmt.Fprintf(w, "%s::%s::max_requests::%d\n", name, prio, b.MaxRequests)
		fmt.Fprintf(w, "%s::%s::max_retries::%d\n", name, prio, b.MaxRetries)
	}
	fmt.Fprintf(w, "%s::added_via_api::true\n", name)
	for _, x := range h.Hosts() {
		at := name + "::" + x.Endpoint.Addr.String()
		for k, v := range x.All() {
			fmt.Fprintf(w, "%s::%s::%d\n", at, k, v)
		}
		fmt.Fprintf(w, "%s::hostname::%s\n", at, x.Endpoint.Hostname)
		fmt.Fprintf(w, "%s::health_flags::%s\n", at, healthFlags(&x))
		fmt.Fprintf(w, "%s::weight::%d\n", at, x.Endpoint.Weight)
		fmt.Fprintf(w, "%s::region::%s\n", at, x.Endpoint.Region)
		fmt.Fprintf(w, "%s::zone::%s\n", at, x.Endpoint.Zone)
		fmt.Fprintf(w, "%s::sub_zone::%s\n", at, x.Endpoint.Subzone)
		fmt.Fprintf(w, "%s::canary::false\n", at)
		fmt.Fprintf(w, "%s::priority::%d\n", at, x.Endpoint.Priority)
	}
}

// healthFlags gives Envoy's words for what keeps an endpoint out.
func healthFlags(x *upstream.HostInfo) string {
	var flags []string
	if x.Endpoint.Ejected {
		flags = append(flags, "/failed_outlier_check")
	}
	switch h := edsHealth(x); h {
	case corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_DRAINING:
		flags = append(flags, "/failed_eds_health")
	case corev3.HealthStatus_DEGRADED:
		flags = append(flags, "/degraded_eds_health")
	}
	if x.Endpoint.Draining {
		flags = append(flags, "/pending_dynamic_removal")
	}
	if len(flags) == 0 {
		return "healthy"
	}
	return strings.Join(flags, "")
}

// edsHealth is the endpoint's health as the control plane told it.
func edsHealth(x *upstream.HostInfo) corev3.HealthStatus {
	return [...]corev3.HealthStatus{
		corev3.HealthStatus_HEALTHY, corev3.HealthStatus_HEALTHY, corev3.HealthStatus_UNHEALTHY, corev3.HealthStatus_DRAINING, corev3.HealthStatus_DEGRADED,
	}[x.Endpoint.Health]
}

func clusterStatus(h *upstream.Handle) *adminv3.ClusterStatus {
	s := &adminv3.ClusterStatus{Name: h.Name(), ObservabilityName: h.Name(), AddedViaApi: true}
	for _, x := range h.Hosts() {
		hs := &adminv3.HostStatus{
			Address:  socketAddress(x.Endpoint.Addr.Addr().String(), x.Endpoint.Addr.Port()),
			Hostname: x.Endpoint.Hostname, Weight: x.Endpoint.Weight, Priority: x.Endpoint.Priority,
			Locality:     &corev3.Locality{Region: x.Endpoint.Region, Zone: x.Endpoint.Zone, SubZone: x.Endpoint.Subzone},
			HealthStatus: &adminv3.HostHealthStatus{EdsHealthStatus: edsHealth(&x), FailedOutlierCheck: x.Endpoint.Ejected, PendingDynamicRemoval: x.Endpoint.Draining},
		}
		for k, v := range x.All() {
			kind := adminv3.SimpleMetric_COUNTER
			if strings.HasSuffix(k, "_active") {
				kind = adminv3.SimpleMetric_GAUGE
			}
			hs.Stats = append(hs.Stats, &adminv3.SimpleMetric{Type: kind, Name: k, Value: v})
		}
		s.HostStatuses = append(s.HostStatuses, hs)
	}
	return s
}

// pageStats writes counters as "name: value", like Envoy.
func (p *Proxy) pageStats(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("format") == "prometheus" {
		p.pageMetrics(w, r)
		return
	}
	filter, err := regexp.Compile(q.Get("filter"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	plain(w)
	used := q.Has("usedonly")
	line := func(name string, v uint64) {
		if (!used || v > 0) && filter.MatchString(name) {
			fmt.Fprintf(w, "%s: %s\n", name, strconv.FormatUint(v, 10))
		}
	}
	for h := range p.clusters.Clusters() {
		for k, v := range h.Stats().All() {
			line("cluster."+h.Name()+"."+k, v)
		}
	}
	for k, v := range p.stats() {
		line(k, v)
	}
}
