package peermeta

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// Labels that carry a workload's canonical identity.
const (
	labelCanonicalName     = "service.istio.io/canonical-name"
	labelCanonicalRevision = "service.istio.io/canonical-revision"
	labelApp               = "app"
	labelVersion           = "version"
)

// Peer describes a workload at the other end. It is immutable. Empty fields are
// not known.
type Peer struct {
	ID                string // node id: "sidecar~10.0.0.1~reviews-v1-0.default~default.svc.cluster.local"
	Name              string // instance
	Namespace         string
	Workload          string // owner: "reviews-v1"
	App               string
	Version           string
	CanonicalName     string
	CanonicalRevision string
	ServiceAccount    string
	Cluster           string // id of the Kubernetes cluster
}

// FromNode describes the proxy's own workload from its node.
func FromNode(n *corev3.Node) *Peer {
	p := fromStruct(n.GetMetadata())
	p.ID = n.GetId()
	return p
}

// FromEndpoint describes a workload from the endpoint metadata istio.workload:
// "NAME;NAMESPACE;CANONICAL;REVISION;CLUSTER". It returns nil for an empty text.
func FromEndpoint(workload string) *Peer {
	if workload == "" {
		return nil
	}
	f := strings.SplitN(workload, ";", 5)
	f = append(f, make([]string, 5-len(f))...)
	return &Peer{Workload: f[0], Namespace: f[1], CanonicalName: f[2], CanonicalRevision: f[3], Cluster: f[4], App: f[2], Version: revision(f[3])}
}

// revision leaves out the name that stands for "no revision".
func revision(r string) string {
	if r == "latest" {
		return ""
	}
	return r
}

func fromStruct(s *structpb.Struct) *Peer {
	f := s.GetFields()
	labels := f["LABELS"].GetStructValue().GetFields()
	p := &Peer{
		Name:              f["NAME"].GetStringValue(),
		Namespace:         f["NAMESPACE"].GetStringValue(),
		Workload:          f["WORKLOAD_NAME"].GetStringValue(),
		ServiceAccount:    f["SERVICE_ACCOUNT"].GetStringValue(),
		Cluster:           f["CLUSTER_ID"].GetStringValue(),
		App:               labels[labelApp].GetStringValue(),
		Version:           labels[labelVersion].GetStringValue(),
		CanonicalName:     labels[labelCanonicalName].GetStringValue(),
		CanonicalRevision: labels[labelCanonicalRevision].GetStringValue(),
	}
	if p.CanonicalName == "" { // as Istio's injector finds it, for who was not injected
		p.CanonicalName = cmp.Or(labels["app.kubernetes.io/name"].GetStringValue(), p.App, p.Workload)
	}
	if p.CanonicalRevision == "" {
		p.CanonicalRevision = p.Version
	}
	if p.CanonicalRevision == "" {
		p.CanonicalRevision = "latest"
	}
	return p
}

// sent are the metadata that a proxy tells of itself; the rest is its own.
var sent = [...]string{"NAME", "NAMESPACE", "OWNER", "WORKLOAD_NAME", "CLUSTER_ID", "SERVICE_ACCOUNT", "MESH_ID", "ISTIO_VERSION", "INSTANCE_IPS"}

// exported gives the metadata to send, from the node's.
func exported(n *corev3.Node) *structpb.Struct {
	out := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	in := n.GetMetadata().GetFields()
	for _, k := range sent {
		if v, ok := in[k]; ok {
			out.Fields[k] = v
		}
	}
	labels := &structpb.Struct{Fields: map[string]*structpb.Value{}}
	for _, k := range []string{labelApp, labelVersion, labelCanonicalName, labelCanonicalRevision} {
		if v, ok := in["LABELS"].GetStructValue().GetFields()[k]; ok {
			labels.Fields[k] = v
		}
	}
	out.Fields["LABELS"] = structpb.NewStructValue(labels)
	return out
}

// headerValue is the form of x-envoy-peer-metadata.
func headerValue(n *corev3.Node) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(exported(n))
	if err != nil {
		return nil, fmt.Errorf("peer metadata: %w", err)
	}
	return base64.StdEncoding.AppendEncode(nil, b), nil
}

// maxMetadata bounds what is read of a peer.
const maxMetadata = 64 << 10

// ParseHeader reads a value of x-envoy-peer-metadata.
func ParseHeader(value []byte) (*Peer, error) {
	if len(value) > maxMetadata {
		return nil, fmt.Errorf("peer metadata of %d bytes", len(value))
	}
	raw, err := base64.StdEncoding.AppendDecode(nil, value)
	if err != nil {
		return nil, fmt.Errorf("peer metadata: %w", err)
	}
	s := &structpb.Struct{}
	if err := proto.Unmarshal(raw, s); err != nil {
		return nil, fmt.Errorf("peer metadata: %w", err)
	}
	return fromStruct(s), nil
}
