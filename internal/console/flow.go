package console

import (
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/history"
	"github.com/lateen-mesh/lateen/internal/wire"
)

// flow is one row of the history with its labels read: how one kind of traffic between
// two ends grew. What is not known is "".
type flow struct {
	fromSource                       bool // counted by the client's proxy
	source, target                   end
	host, service, serviceNamespace  string
	protocol                         string // "http", "grpc", "tcp"
	code, grpc, flags                string
	sourcePrincipal, targetPrincipal string
	mutual, mutualKnown              bool
	values                           *history.Values
}

// end is a workload as the metrics name it.
type end struct{ namespace, workload, app, version string }

func (e end) known() bool { return e.workload != "" }

// readFlow reads labels.
func readFlow(labels []wire.Label, values *history.Values) flow {
	f := flow{values: values, protocol: "tcp"}
	policy := ""
	set := map[string]*string{
		"source_workload": &f.source.workload, "source_workload_namespace": &f.source.namespace,
		"source_canonical_service": &f.source.app, "source_canonical_revision": &f.source.version, "source_principal": &f.sourcePrincipal,
		"destination_workload": &f.target.workload, "destination_workload_namespace": &f.target.namespace,
		"destination_canonical_service": &f.target.app, "destination_canonical_revision": &f.target.version, "destination_principal": &f.targetPrincipal,
		"destination_service": &f.host, "destination_service_name": &f.service, "destination_service_namespace": &f.serviceNamespace,
		"request_protocol": &f.protocol, "response_code": &f.code, "grpc_response_status": &f.grpc, "response_flags": &f.flags,
		"connection_security_policy": &policy,
	}
	for _, l := range labels {
		if l.Name == "reporter" {
			f.fromSource = l.Value == "source"
		} else if to := set[l.Name]; to != nil && l.Value != "unknown" {
			*to = l.Value
		}
	}
	if f.flags == "-" {
		f.flags = ""
	}
	switch policy {
	case "mutual_tls", "none":
		f.mutual, f.mutualKnown = policy == "mutual_tls", true
	default: // the client's side, which names principals where there are any
		f.mutual, f.mutualKnown = f.targetPrincipal != "", f.target.known()
	}
	return f
}

// failed reports whether the flow's requests count as errors.
func (f *flow) failed() bool {
	if f.protocol == "grpc" && f.grpc != "" {
		return f.grpc != "0"
	}
	code, err := strconv.Atoi(f.code)
	return err == nil && (code == 0 || code >= 500)
}

// outcome names the flow's code: "200", "grpc 14".
func (f *flow) outcome() string {
	if f.protocol == "grpc" && f.grpc != "" {
		return "grpc " + f.grpc
	}
	return f.code
}

// class names the class of the flow's code, for charts.
func (f *flow) class() string {
	switch {
	case f.protocol == "grpc" && f.failed():
		return "grpc-error"
	case f.protocol == "grpc":
		return "grpc-ok"
	case f.code == "" || f.code == "0":
		return "none"
	}
	return f.code[:1] + "xx"
}

// ofMesh reads namespace and name of a service of the mesh from its labels.
func (f *flow) ofMesh() (namespace, name string, ok bool) {
	if f.serviceNamespace == "" || f.service == "" || strings.HasSuffix(f.service, "Cluster") {
		return "", "", false
	}
	return f.serviceNamespace, f.service, true
}
