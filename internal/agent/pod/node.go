package pod

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// DataPlane names what serves, in the node's metadata.
type DataPlane string

// The data planes.
const (
	Native DataPlane = "native"
	Envoy  DataPlane = "envoy"
)

// IstioVersion is what our proxies say they are compatible with.
const IstioVersion = "1.31.0-lateen"

// metaPrefix and metaJSONPrefix begin the names of variables that become metadata of
// the node, as text and as JSON.
const (
	metaPrefix     = "ISTIO_META_"
	metaJSONPrefix = "ISTIO_METAJSON_"
)

// onDemand is the annotation that says "true" where the proxy holds only what its
// workload calls, and "false" where it holds all that it may see, whatever the mesh's
// setting is (LATEEN_ON_DEMAND in proxyMetadata).
const onDemand = "lateen.dev/on-demand"

// annotationPrefixes are those of annotations that a control plane reads; others, some
// of which are long, stay in the pod.
var annotationPrefixes = []string{
	"sidecar.istio.io/", "proxy.istio.io/", "traffic.sidecar.istio.io/", "istio.io/", "networking.istio.io/", "lateen.dev/",
}

// Node makes what the proxy tells the control plane of itself, from the settings,
// the variables in environ ("NAME=VALUE") and the files of the downward API as they
// are now.
func (s *Settings) Node(environ []string, plane DataPlane) (*corev3.Node, error) {
	meta := map[string]any{}
	for k, v := range s.metadata {
		environ = append([]string{k + "=" + v}, environ...) // the container's own go last, and win
	}
	for _, e := range environ {
		if err := addMeta(meta, e); err != nil {
			return nil, err
		}
	}
	labels, err := readDownward(s.LabelsFile)
	if err != nil {
		return nil, fmt.Errorf("the pod's labels: %w", err)
	}
	if labels != nil {
		meta["LABELS"] = values(labels, func(string) bool { return true })
	}
	annotations, err := readDownward(s.AnnotationsFile)
	if err != nil {
		return nil, fmt.Errorf("the pod's annotations: %w", err)
	}
	if s.Role == Sidecar && plane == Native && cmp.Or(annotations[onDemand], s.getenv("LATEEN_ON_DEMAND")) == "true" {
		meta["LATEEN_ON_DEMAND"] = "true"
	}
	if a := values(annotations, forControlPlane); len(a) > 0 {
		meta["ANNOTATIONS"] = a
	}
	if _, told := meta["PROXY_CONFIG"]; !told && len(s.told) > 0 {
		meta["PROXY_CONFIG"] = s.told
	}
	if _, told := meta["ISTIO_VERSION"]; !told {
		meta["ISTIO_VERSION"] = IstioVersion
	}
	for k, v := range map[string]string{
		"NAME": s.Pod, "NAMESPACE": s.Namespace, "INSTANCE_IPS": strings.Join(s.IPs, ","), "SERVICE_ACCOUNT": s.ServiceAccount,
		// The redirection knows the proxy by its user: its sockets need no mark.
		"LATEEN_DATA_PLANE": string(plane), "LATEEN_BYPASS": "uid",
		"MESH_ID": cmp.Or(s.getenv("ISTIO_META_MESH_ID"), s.meshID, s.TrustDomain),
	} {
		meta[k] = v
	}
	m, err := structpb.NewStruct(meta)
	if err != nil {
		return nil, fmt.Errorf("node metadata: %w", err)
	}
	return &corev3.Node{
		Id:       s.Role + "~" + s.IPs[0] + "~" + s.Pod + "." + s.Namespace + "~" + s.Namespace + ".svc." + s.domain(),
		Metadata: m, UserAgentName: "lateen-proxy",
	}, nil
}

// domain is the cluster's DNS domain.
func (s *Settings) domain() string { return cmp.Or(s.getenv("DOMAIN_SUFFIX"), "cluster.local") }

func addMeta(meta map[string]any, variable string) error {
	name, value, _ := strings.Cut(variable, "=")
	if key, ok := strings.CutPrefix(name, metaJSONPrefix); ok {
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		meta[key] = v
		return nil
	}
	key, ok := strings.CutPrefix(name, metaPrefix)
	if !ok || value == "" {
		return nil
	}
	meta[key] = value
	if key == "POD_PORTS" {
		// Istio's one variable of this prefix that holds JSON.
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		meta[key] = v
	}
	return nil
}

func forControlPlane(key string) bool {
	for _, p := range annotationPrefixes {
		if strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

func values(m map[string]string, keep func(string) bool) map[string]any {
	out := make(map[string]any, len(m))
	for k, v := range m {
		if keep(k) {
			out[k] = v
		}
	}
	return out
}
