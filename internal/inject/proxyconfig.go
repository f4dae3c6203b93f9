package inject

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"istio.io/api/annotation"
	meshconfig "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// ProxyConfig is a ProxyConfig resource (networking.istio.io/v1beta1).
type ProxyConfig struct {
	Namespace, Name string
	Created         time.Time
	Spec            *networking.ProxyConfig
}

// ParseMesh reads a mesh configuration (key "mesh" of the ConfigMap istio) over the
// defaults. Unknown fields are errors.
func ParseMesh(text []byte) (*meshconfig.MeshConfig, error) {
	mesh := &meshconfig.MeshConfig{}
	if err := unmarshalYAML(text, mesh); err != nil {
		return nil, fmt.Errorf("mesh configuration: %w", err)
	}
	return mesh, nil
}

// defaultProxyConfig has Istio's documented defaults (istio.mesh.v1alpha1.ProxyConfig)
// as far as injection or the proxy reads them.
func defaultProxyConfig(discovery string) *meshconfig.ProxyConfig {
	return &meshconfig.ProxyConfig{
		ConfigPath:               "./etc/istio/proxy",
		ClusterName:              &meshconfig.ProxyConfig_ServiceCluster{ServiceCluster: ProxyContainer},
		DrainDuration:            durationpb.New(45 * time.Second),
		TerminationDrainDuration: durationpb.New(5 * time.Second),
		DiscoveryAddress:         discovery,
		ProxyAdminPort:           15000,
		ControlPlaneAuthPolicy:   meshconfig.AuthenticationPolicy_MUTUAL_TLS,
		StatusPort:               15020,
		StatNameLength:           189,
		BinaryPath:               "/usr/local/bin/envoy",
		// DNS capture is on unless the mesh configuration says otherwise: the proxy must
		// answer for ServiceEntries that no other server knows.
		ProxyMetadata: map[string]string{"ISTIO_META_DNS_CAPTURE": "true"},
	}
}

// withDefaults fills in what injection reads of a mesh configuration.
func withDefaults(given *meshconfig.MeshConfig, discovery string) *meshconfig.MeshConfig {
	mesh := &meshconfig.MeshConfig{}
	if given != nil {
		mesh = proto.Clone(given).(*meshconfig.MeshConfig)
	}
	mesh.DefaultConfig = overlayProxyConfig(defaultProxyConfig(discovery), mesh.DefaultConfig)
	mesh.ProxyListenPort = cmp.Or(mesh.ProxyListenPort, 15001)
	mesh.ProxyInboundListenPort = cmp.Or(mesh.ProxyInboundListenPort, 15006)
	mesh.TrustDomain = cmp.Or(mesh.TrustDomain, "cluster.local")
	if mesh.EnablePrometheusMerge == nil {
		mesh.EnablePrometheusMerge = wrapperspb.Bool(true)
	}
	return mesh
}

// overlayProxyConfig gives a copy of base in which every field that top sets
// replaces base's as a whole; proxyMetadata is merged by key.
func overlayProxyConfig(base, top *meshconfig.ProxyConfig) *meshconfig.ProxyConfig {
	out := proto.Clone(base).(*meshconfig.ProxyConfig)
	if top == nil {
		return out
	}
	metadata := maps.Clone(out.ProxyMetadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	maps.Copy(metadata, top.ProxyMetadata)
	to, from := out.ProtoReflect(), proto.Clone(top).ProtoReflect()
	fields := from.Descriptor().Fields()
	for i := range fields.Len() {
		if f := fields.Get(i); from.Has(f) {
			to.Set(f, from.Get(f))
		}
	}
	out.ProxyMetadata = metadata
	return out
}

// effective is the proxy's configuration, in Istio's precedence: mesh, ProxyConfig
// of the root namespace, of the namespace, the pod's annotation, ProxyConfig with
// a selector; last the annotations for single fields.
func (w *work) effective() (*meshconfig.ProxyConfig, error) {
	pc := w.mesh.DefaultConfig
	root := cmp.Or(w.mesh.RootNamespace, w.system)
	pc = overlayProxyConfig(pc, w.resources(root, false))
	if w.original.Namespace != root {
		pc = overlayProxyConfig(pc, w.resources(w.original.Namespace, false))
	}
	if text, ok := w.original.Annotations[annotation.ProxyConfig.Name]; ok {
		own := &meshconfig.ProxyConfig{}
		if err := unmarshalYAML([]byte(text), own); err != nil {
			return nil, userError("annotation %s: %w", annotation.ProxyConfig.Name, err)
		}
		pc = overlayProxyConfig(pc, own)
	}
	pc = overlayProxyConfig(pc, w.resources(w.original.Namespace, true))
	return pc, w.singleFields(pc)
}

// singleFields applies the annotations that set one field of the configuration.
func (w *work) singleFields(pc *meshconfig.ProxyConfig) error {
	if v, ok := w.original.Annotations[annotation.SidecarDiscoveryAddress.Name]; ok {
		pc.DiscoveryAddress = v
	}
	if v, ok := w.original.Annotations[annotation.SidecarStatusPort.Name]; ok {
		n, err := strconv.ParseUint(v, 10, 16)
		if err != nil {
			return userError("annotation %s: %q is not a port", annotation.SidecarStatusPort.Name, v)
		}
		pc.StatusPort = int32(n)
	}
	if v, ok := w.original.Annotations[annotation.SidecarInterceptionMode.Name]; ok {
		mode, known := meshconfig.ProxyConfig_InboundInterceptionMode_value[v]
		if !known {
			return userError("annotation %s: %q is none of REDIRECT, TPROXY, NONE", annotation.SidecarInterceptionMode.Name, v)
		}
		pc.InterceptionMode = meshconfig.ProxyConfig_InboundInterceptionMode(mode)
	}
	if pc.InterceptionMode == meshconfig.ProxyConfig_TPROXY && w.dataPlane() == dataPlaneEnvoy {
		return userError("interception mode TPROXY is not supported with %s: %s, only with the native proxy", AnnotationProxy, dataPlaneEnvoy)
	}
	return nil
}

// resources merges the ProxyConfigs of a namespace, with a selector that matches or
// without one; the oldest one wins, field by field.
func (w *work) resources(namespace string, selecting bool) *meshconfig.ProxyConfig {
	var list []ProxyConfig
	for _, r := range w.request.ProxyConfigs {
		wanted := r.Spec.GetSelector().GetMatchLabels()
		if r.Namespace == namespace && selecting == (len(wanted) > 0) && labels.SelectorFromSet(wanted).Matches(labels.Set(w.original.Labels)) {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b ProxyConfig) int { // the oldest last: it is applied on top
		return cmp.Or(b.Created.Compare(a.Created), strings.Compare(b.Name, a.Name))
	})
	out := &meshconfig.ProxyConfig{}
	for _, r := range list {
		out = overlayProxyConfig(out, &meshconfig.ProxyConfig{
			Concurrency: r.Spec.GetConcurrency(), ProxyMetadata: r.Spec.GetEnvironmentVariables(), Image: r.Spec.GetImage(),
		})
	}
	return out
}

// proxyConfigJSON is PROXY_CONFIG: fields that have their default are left out, the
// control plane's address never is.
func proxyConfigJSON(pc *meshconfig.ProxyConfig) (string, error) {
	small := proto.Clone(pc).(*meshconfig.ProxyConfig)
	m, def := small.ProtoReflect(), defaultProxyConfig("").ProtoReflect()
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if m.Has(f) && def.Has(f) && f.Name() != "proxy_metadata" && m.Get(f).Equal(def.Get(f)) {
			m.Clear(f)
		}
	}
	return stableJSON(small)
}

// stableJSON undoes the spaces that protojson varies from build to build.
func stableJSON(m proto.Message) (string, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return "", err
	}
	var v any
	if err := json.Unmarshal(text, &v); err != nil {
		return "", err
	}
	return compactJSON(v)
}

func unmarshalYAML(text []byte, m proto.Message) error {
	js, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	if string(js) == "null" {
		return nil
	}
	if err := protojson.Unmarshal(js, m); err != nil {
		// The place that protojson names is in the JSON, which nobody has seen.
		return errors.New(protojsonPrefix.ReplaceAllString(err.Error(), ""))
	}
	return nil
}

var protojsonPrefix = regexp.MustCompile(`^proto:[\s\x{a0}]*(\(line \d+:\d+\):[\s\x{a0}]*)?`)
