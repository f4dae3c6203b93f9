package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	extensions "istio.io/api/extensions/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	networkingbeta "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// API groups that Lateen reads.
const (
	GroupCore       = ""
	GroupApps       = "apps"
	GroupNetworking = "networking.istio.io"
	GroupSecurity   = "security.istio.io"
	GroupTelemetry  = "telemetry.istio.io"
	GroupExtensions = "extensions.istio.io"
	GroupGatewayAPI = "gateway.networking.k8s.io"
)

// Names of the kinds that other packages speak of.
const (
	KindVirtualService     = "VirtualService"
	KindDestinationRule    = "DestinationRule"
	KindGateway            = "Gateway"
	KindServiceEntry       = "ServiceEntry"
	KindPeerAuthentication = "PeerAuthentication"
	KindNamespace          = "Namespace"
	KindService            = "Service"
	KindServiceAccount     = "ServiceAccount"
	KindDeployment         = "Deployment"
	KindSecret             = "Secret"
	KindConfigMap          = "ConfigMap"
	KindGatewayClass       = "GatewayClass"
	KindHTTPRoute          = "HTTPRoute"
	KindGRPCRoute          = "GRPCRoute"
	KindReferenceGrant     = "ReferenceGrant"
	// RefGateway is the Gateway API's Gateway in refs: Istio's is called so already.
	RefGateway = "Gateway." + GroupGatewayAPI
)

// The mesh's configuration (MeshConfig) on one machine lies in the ConfigMap of this
// name and namespace, under this key. On Kubernetes each revision has its own.
const (
	MeshConfigNamespace = "istio-system"
	MeshConfigMap       = "istio"
	MeshConfigKey       = "mesh"
)

// kinds is read only after initialisation. The versions are those that the
// custom resource definitions of istio.io/api serve, the stored one first.
var kinds = []*Kind{
	{Group: GroupNetworking, Name: KindVirtualService, Plural: "virtualservices", Short: []string{"vs"}, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Acts: true, New: func() any { return new(networking.VirtualService) }},
	{Group: GroupNetworking, Name: KindDestinationRule, Plural: "destinationrules", Short: []string{"dr"}, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Acts: true, New: func() any { return new(networking.DestinationRule) }},
	{Group: GroupNetworking, Name: KindGateway, Plural: "gateways", Short: []string{"gw"}, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Acts: true, New: func() any { return new(networking.Gateway) }},
	{Group: GroupNetworking, Name: KindServiceEntry, Plural: "serviceentries", Short: []string{"se"}, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Acts: true, New: func() any { return new(networking.ServiceEntry) }},
	{Group: GroupNetworking, Name: "Sidecar", Plural: "sidecars", Versions: []string{"v1", "v1beta1", "v1alpha3"}, Acts: true, New: func() any { return new(networking.Sidecar) }},
	{Group: GroupNetworking, Name: "WorkloadEntry", Plural: "workloadentries", Short: []string{"we"}, Versions: []string{"v1", "v1beta1", "v1alpha3"}, Acts: true, New: func() any { return new(networking.WorkloadEntry) }},
	{Group: GroupNetworking, Name: "WorkloadGroup", Plural: "workloadgroups", Short: []string{"wg"}, Versions: []string{"v1", "v1beta1", "v1alpha3"}, New: func() any { return new(networking.WorkloadGroup) }},
	{Group: GroupNetworking, Name: "EnvoyFilter", Plural: "envoyfilters", Versions: []string{"v1alpha3"}, New: func() any { return new(networking.EnvoyFilter) }},
	{Group: GroupNetworking, Name: "ProxyConfig", Plural: "proxyconfigs", Versions: []string{"v1beta1"}, New: func() any { return new(networkingbeta.ProxyConfig) }},
	{Group: GroupSecurity, Name: "AuthorizationPolicy", Plural: "authorizationpolicies", Short: []string{"ap"}, Versions: []string{"v1", "v1beta1"}, New: func() any { return new(security.AuthorizationPolicy) }},
	{Group: GroupSecurity, Name: KindPeerAuthentication, Plural: "peerauthentications", Short: []string{"pa"}, Versions: []string{"v1", "v1beta1"}, Acts: true, New: func() any { return new(security.PeerAuthentication) }},
	{Group: GroupSecurity, Name: "RequestAuthentication", Plural: "requestauthentications", Short: []string{"ra"}, Versions: []string{"v1", "v1beta1"}, New: func() any { return new(security.RequestAuthentication) }},
	{Group: GroupTelemetry, Name: "Telemetry", Plural: "telemetries", Versions: []string{"v1", "v1alpha1"}, New: func() any { return new(telemetry.Telemetry) }},
	{Group: GroupExtensions, Name: "WasmPlugin", Plural: "wasmplugins", Versions: []string{"v1alpha1"}, New: func() any { return new(extensions.WasmPlugin) }},
	{Group: GroupExtensions, Name: "TrafficExtension", Plural: "trafficextensions", Versions: []string{"v1alpha1"}, New: func() any { return new(extensions.TrafficExtension) }},
	{Group: GroupCore, Name: KindNamespace, Plural: "namespaces", Short: []string{"ns"}, Versions: []string{"v1"}, ClusterScoped: true, Acts: true, New: func() any { return new(corev1.Namespace) }},
	{Group: GroupCore, Name: KindService, Plural: "services", Short: []string{"svc"}, Versions: []string{"v1"}, Acts: true, New: func() any { return new(corev1.Service) }},
	{Group: GroupCore, Name: KindServiceAccount, Plural: "serviceaccounts", Short: []string{"sa"}, Versions: []string{"v1"}, Acts: true, New: func() any { return new(corev1.ServiceAccount) }},
	{Group: GroupApps, Name: KindDeployment, Plural: "deployments", Short: []string{"deploy"}, Versions: []string{"v1"}, Acts: true, New: func() any { return new(appsv1.Deployment) }},
	{Group: GroupCore, Name: KindSecret, Plural: "secrets", Versions: []string{"v1"}, Acts: true, New: func() any { return new(corev1.Secret) }},
	{Group: GroupCore, Name: KindConfigMap, Plural: "configmaps", Short: []string{"cm"}, Versions: []string{"v1"}, Acts: true, New: func() any { return new(corev1.ConfigMap) }},
	{Group: GroupGatewayAPI, Name: KindGatewayClass, Plural: "gatewayclasses", Short: []string{"gc"}, Versions: []string{"v1", "v1beta1"}, ClusterScoped: true, Acts: true, New: func() any { return new(gatewayv1.GatewayClass) }},
	{Group: GroupGatewayAPI, Name: KindGateway, RefName: RefGateway, Plural: "gateways", Short: []string{"gtw"}, Versions: []string{"v1", "v1beta1"}, Acts: true, New: func() any { return new(gatewayv1.Gateway) }},
	{Group: GroupGatewayAPI, Name: KindHTTPRoute, Plural: "httproutes", Versions: []string{"v1", "v1beta1"}, Acts: true, New: func() any { return new(gatewayv1.HTTPRoute) }},
	{Group: GroupGatewayAPI, Name: KindGRPCRoute, Plural: "grpcroutes", Versions: []string{"v1"}, Acts: true, New: func() any { return new(gatewayv1.GRPCRoute) }},
	{Group: GroupGatewayAPI, Name: KindReferenceGrant, Plural: "referencegrants", Short: []string{"refgrant"}, Versions: []string{"v1", "v1beta1"}, Acts: true, New: func() any { return new(gatewayv1.ReferenceGrant) }},
	{Group: GroupGatewayAPI, Name: "BackendTLSPolicy", Plural: "backendtlspolicies", Short: []string{"btlspolicy"}, Versions: []string{"v1", "v1alpha3"}, New: func() any { return new(gatewayv1.BackendTLSPolicy) }},
	{Group: GroupGatewayAPI, Name: "ListenerSet", Plural: "listenersets", Short: []string{"lset"}, Versions: []string{"v1"}, New: func() any { return new(gatewayv1.ListenerSet) }},
	{Group: GroupGatewayAPI, Name: "TLSRoute", Plural: "tlsroutes", Versions: []string{"v1", "v1alpha3", "v1alpha2"}, New: func() any { return new(gatewayv1.TLSRoute) }},
	{Group: GroupGatewayAPI, Name: "TCPRoute", Plural: "tcproutes", Versions: []string{"v1", "v1alpha2"}, New: func() any { return new(gatewayv1.TCPRoute) }},
	{Group: GroupGatewayAPI, Name: "UDPRoute", Plural: "udproutes", Versions: []string{"v1", "v1alpha2"}, New: func() any { return new(gatewayv1.UDPRoute) }},
}

// Kinds lists all kinds that Lateen decodes. The slice is the caller's own; the
// kinds are shared and must not be changed.
func Kinds() []*Kind { return slices.Clone(kinds) }

// KindNamed returns the kind that refs call name ("VirtualService"), or nil.
func KindNamed(name string) *Kind {
	for _, k := range kinds {
		if k.ID() == name {
			return k
		}
	}
	return nil
}

// ID is the kind's name in refs, unique across the groups that Lateen reads.
func (k *Kind) ID() string { return cmp.Or(k.RefName, k.Name) }

// APIVersion is the preferred apiVersion, "networking.istio.io/v1" or "v1".
func (k *Kind) APIVersion() string {
	if k.Group == GroupCore {
		return k.Versions[0]
	}
	return k.Group + "/" + k.Versions[0]
}

// Resource is the name under which kubectl prints objects of the kind:
// "virtualservice.networking.istio.io", "service".
func (k *Kind) Resource() string {
	name := strings.ToLower(k.Name)
	if k.Group == GroupCore {
		return name
	}
	return name + "." + k.Group
}

// ParseKind finds a kind by what a user of kubectl types: the kind, its plural,
// singular or short name in any case, with or without the group
// ("virtualservices.networking.istio.io").
func ParseKind(s string) (*Kind, error) {
	name, group, qualified := strings.Cut(strings.ToLower(s), ".")
	for _, k := range kinds {
		if qualified && group != k.Group {
			continue
		}
		if name == strings.ToLower(k.Name) || name == k.Plural || slices.Contains(k.Short, name) {
			return k, nil
		}
	}
	var names []string
	for _, k := range kinds {
		names = append(names, k.Plural, strings.ToLower(k.Name))
	}
	return nil, fmt.Errorf("the mesh has no resource type %q%s", s, didYouMean(name, names))
}

// findKind finds the kind of a document's header.
func findKind(apiVersion, kind string) (*Kind, error) {
	group, version := GroupCore, apiVersion
	if i := strings.LastIndexByte(apiVersion, '/'); i >= 0 {
		group, version = apiVersion[:i], apiVersion[i+1:]
	}
	for _, k := range kinds {
		if k.Group == group && k.Name == kind {
			if slices.Contains(k.Versions, version) {
				return k, nil
			}
			return nil, fmt.Errorf("%s has no version %q in group %s; it is served as %s", kind, version, groupName(group), strings.Join(k.Versions, ", "))
		}
	}
	return nil, unknownKind(group, apiVersion, kind)
}

func unknownKind(group, apiVersion, kind string) error {
	if group == "gateway.networking.x-k8s.io" {
		return fmt.Errorf("kind %s of %s belongs to the experiments of the Gateway API, which are not supported", kind, apiVersion)
	}
	if k := KindNamed(kind); k != nil {
		return fmt.Errorf("kind %s is not in apiVersion %s; it is in %s", kind, apiVersion, k.APIVersion())
	}
	var names []string
	for _, k := range kinds {
		names = append(names, k.Name)
	}
	return fmt.Errorf("kind %s of apiVersion %s is not known%s", kind, apiVersion, didYouMean(kind, names))
}

func groupName(group string) string {
	if group == GroupCore {
		return "core"
	}
	return group
}
