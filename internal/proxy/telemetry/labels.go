package telemetry

import (
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/proxy/config"
	"github.com/lateen-mesh/lateen/internal/proxy/filters/peermeta"
	"github.com/lateen-mesh/lateen/internal/proxy/stream"
)

// unknown stands for what is not known, as in Istio's metrics.
const unknown = "unknown"

// commonLabels are the labels of all standard metrics, httpLabels those that HTTP
// adds. Source: Istio's page "Istio Standard Metrics".
var (
	commonLabels = []string{
		"reporter",
		"source_workload", "source_workload_namespace", "source_principal", "source_app", "source_version", "source_cluster",
		"source_canonical_service", "source_canonical_revision",
		"destination_workload", "destination_workload_namespace", "destination_principal", "destination_app", "destination_version", "destination_cluster",
		"destination_canonical_service", "destination_canonical_revision",
		"destination_service", "destination_service_name", "destination_service_namespace",
		"request_protocol", "response_flags", "connection_security_policy",
	}
	httpLabels = append(commonLabels[:len(commonLabels):len(commonLabels)], "response_code", "grpc_response_status")
)

// facts are what the labels of one series come from.
type facts struct {
	dir              stream.Direction
	self, peer       *peermeta.Peer
	sourceID, destID string // principals: SPIFFE ids
	mutual           bool
	service          config.Service
	protocol, flags  string
	code             int
	grpc             string
}

// values gives the label values in the order of commonLabels.
func (f *facts) values() []string {
	source, dest, reporter := f.self, f.peer, "source"
	policy := unknown // the source does not see what arrives
	if f.dir == stream.Inbound {
		source, dest, reporter = f.peer, f.self, "destination"
		policy = "none"
		if f.mutual {
			policy = "mutual_tls"
		}
	}
	if source == nil {
		source = &peermeta.Peer{}
	}
	if dest == nil {
		dest = &peermeta.Peer{}
	}
	out := []string{
		reporter,
		source.Workload, source.Namespace, f.sourceID, source.App, source.Version, source.Cluster,
		source.CanonicalName, source.CanonicalRevision,
		dest.Workload, dest.Namespace, f.destID, dest.App, dest.Version, dest.Cluster,
		dest.CanonicalName, dest.CanonicalRevision,
		f.service.Host, f.service.Name, f.service.Namespace,
		f.protocol, f.flags, policy,
	}
	for i, v := range out {
		if v == "" {
			out[i] = unknown
		}
	}
	return out
}

// httpValues gives the label values in the order of httpLabels.
func (f *facts) httpValues() []string { return append(f.values(), strconv.Itoa(f.code), f.grpc) }

// responseFlags gives the label for a reason and what else happened.
func responseFlags(c stream.Code, n stream.Notes) string {
	if flags := stream.Flags(c, n); flags != "" {
		return flags
	}
	return "-"
}

// serviceOf finds the service that a cluster stands for: its istio.services
// metadata, else its name ("outbound|9080|v1|reviews.default.svc.cluster.local"),
// else the host that the client asked for, under the cluster's name.
func serviceOf(name string, c *config.Cluster, host string) config.Service {
	if c != nil && len(c.Metadata.Services) > 0 {
		return c.Metadata.Services[0]
	}
	if part := strings.Split(name, "|"); len(part) == 4 && part[3] != "" {
		s := config.Service{Host: part[3], Name: part[3]}
		if label := strings.Split(part[3], "."); len(label) > 2 && label[2] == "svc" {
			s.Name, s.Namespace = label[0], label[1]
		}
		return s
	}
	if strings.HasSuffix(name, "Cluster") { // PassthroughCluster, BlackHoleCluster, InboundPassthroughCluster
		return config.Service{Host: host, Name: name}
	}
	return config.Service{Host: host, Name: host}
}
