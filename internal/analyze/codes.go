package analyze

import (
	"cmp"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Code is a kind of message. Codes that begin with IST, their names and levels are
// Istio's ("Analyzer message reference"), so that people and tools know them; those
// that begin with LTN say what Istio has no message for.
type Code struct {
	Code  string
	Name  string
	Level Level
	// About says in a few words what is looked for, Template what is said (a format of
	// package fmt). The template "%s" leaves the words to the stage that found it.
	About, Template string
}

// codes is all that is known of messages, in order. It is data: what finds them is
// in the analyzers and in pipeline. Read only after initialisation.
var codes = []Code{
	{"IST0002", "Deprecated", Warning, "a field or value that is deprecated", "%s"},
	{"IST0101", "ReferencedResourceNotFound", Error, "a host, subset, gateway, selector, credential or target that does not exist", "%s"},
	{"IST0102", "NamespaceNotInjected", Info, "a namespace that is neither in the mesh nor said to be outside it", "pods of the namespace get no proxy; label it istio-injection=enabled to bring it into the mesh, or istio-injection=disabled to say that it stays outside"},
	{"IST0103", "PodMissingProxy", Warning, "a pod without the proxy that its namespace asks for", "%s"},
	{"IST0106", "SchemaValidationError", Error, "a field with a value that the API does not allow", "%s"},
	{"IST0107", "MisplacedAnnotation", Warning, "an annotation on a kind of object that it says nothing to", "the annotation %s belongs on %s"},
	{"IST0108", "UnknownAnnotation", Warning, "an annotation of Istio's that does not exist", "there is no annotation %s"},
	{"IST0109", "ConflictingMeshGatewayVirtualServiceHosts", Error, "VirtualServices for one host on sidecars whose rules contradict each other", "%s"},
	{"IST0110", "ConflictingSidecarWorkloadSelectors", Error, "Sidecars that select the same workload", "the Sidecars %s all select the workload %s; the oldest counts"},
	{"IST0111", "MultipleSidecarsWithoutWorkloadSelectors", Error, "Sidecars of one namespace without selectors", "the Sidecars %s of the namespace have no selector; the oldest counts"},
	{"IST0112", "VirtualServiceDestinationPortSelectorRequired", Error, "a destination with several ports, of which none is named", "the service %s has the ports %s; the destination must name one"},
	{"IST0113", "MTLSPolicyConflict", Error, "a DestinationRule that calls a host otherwise than its workloads take calls", "%s is called with the mode %s, but %s asks for %s"},
	{"IST0116", "DeploymentAssociatedToMultipleServices", Warning, "a workload whose services give one port different protocols", "the services %s of the workload give the port %d different protocols"},
	{"IST0118", "PortNameIsNotUnderNamingConvention", Info, "a port whose protocol is not declared", "the port %q (%d, target %s) declares no protocol by its name or appProtocol; it is told from the first bytes of each connection"},
	{"IST0119", "JwtFailureDueToInvalidServicePortPrefix", Warning, "tokens asked for at a port that is not HTTP", "tokens are asked for at the service %s, whose port %q (%d) is not declared as HTTP"},
	{"IST0122", "InvalidRegexp", Warning, "a regular expression that does not compile", "%s"},
	{"IST0123", "NamespaceMultipleInjectionLabels", Warning, "a namespace with labels for injection that contradict each other", "the namespace has the labels %s; only one of them should be there"},
	{"IST0125", "InvalidAnnotation", Warning, "an annotation with a value that it cannot have", "the annotation %s: %s"},
	{"IST0127", "NoMatchingWorkloadsFound", Warning, "a selector that matches no workload", "no workload has the labels %s"},
	{"IST0128", "NoServerCertificateVerificationDestinationLevel", Warning, "TLS to a host whose certificate is not checked against named authorities", "the host %s is called with the mode %s and without caCertificates: its certificate is not checked against authorities of your choice"},
	{"IST0129", "NoServerCertificateVerificationPortLevel", Warning, "the same for a port", "the port %d of the host %s is called with the mode %s and without caCertificates: its certificate is not checked against authorities of your choice"},
	{"IST0130", "VirtualServiceUnreachableRule", Warning, "a rule that an earlier one leaves nothing to", "%s"},
	{"IST0131", "VirtualServiceIneffectiveMatch", Info, "a match that an earlier one has", "%s"},
	{"IST0132", "VirtualServiceHostNotFoundInGateway", Warning, "a host that no server of the gateway has", "%s"},
	{"IST0133", "SchemaWarning", Warning, "a field that is allowed and hardly meant so", "%s"},
	{"IST0134", "ServiceEntryAddressesRequired", Warning, "a port of TCP of a host without addresses", "connections to the port %d are told apart by address only (protocol %s), and the host has none"},
	{"IST0135", "DeprecatedAnnotation", Info, "an annotation that is deprecated", "the annotation %s is deprecated%s"},
	{"IST0136", "AlphaAnnotation", Info, "an annotation of a feature that may change", "the annotation %s belongs to a feature in alpha, which may change"},
	{"IST0137", "DeploymentConflictingPorts", Warning, "a workload whose services call one of its ports by different numbers", "the services %s of the workload reach its port %s by different ports: %s"},
	{"IST0138", "GatewayDuplicateCertificate", Warning, "one certificate at several gateways", "the certificate %s is also at %s: clients that keep connections of HTTP/2 may ask one gateway for hosts of the other"},
	{"IST0140", "IngressRouteRulesNotAffected", Warning, "subsets of sidecars' rules that requests of a gateway do not meet", "requests from the gateway %s go to %s as a whole: the subsets that %s names hold for sidecars only"},
	{"IST0144", "InvalidApplicationUID", Warning, "an application with the proxy's user id", "the user id 1337 is the proxy's: connections of a program with it bypass the proxy"},
	{"IST0145", "ConflictingGateways", Error, "a host that another gateway serves on the same port", "%s"},
	{"IST0146", "ImageAutoWithoutInjectionWarning", Warning, "a workload that waits for an injected image and is not injected", "the container %s has the image \"auto\", but nothing injects its pods"},
	{"IST0147", "ImageAutoWithoutInjectionError", Error, "a pod that waits for an injected image and is not injected", "the container %s has the image \"auto\", but nothing injects the pod"},
	{"IST0149", "JwtClaimBasedRoutingWithoutRequestAuthN", Error, "routing by the claims of tokens that nobody checks", "the match %s needs a RequestAuthentication for the gateway %s, which has none"},
	{"IST0150", "ExternalNameServiceTypeInvalidPortName", Warning, "an ExternalName service with a port of TCP", "the port %q of an ExternalName service would take every connection to its number; name it for its protocol"},
	{"IST0151", "EnvoyFilterUsesRelativeOperation", Warning, "a patch that depends on others, without a priority", "the operation %s depends on what other filters have made; set a priority, or use ADD or INSERT_FIRST"},
	{"IST0152", "EnvoyFilterUsesReplaceOperationIncorrectly", Error, "REPLACE of what cannot be replaced", "REPLACE is for HTTP_FILTER and NETWORK_FILTER, not for %s"},
	{"IST0153", "EnvoyFilterUsesAddOperationIncorrectly", Error, "ADD to what nothing can be added to", "ADD has no effect on %s"},
	{"IST0154", "EnvoyFilterUsesRemoveOperationIncorrectly", Error, "REMOVE of what cannot be removed", "REMOVE has no effect on %s"},
	{"IST0155", "EnvoyFilterUsesRelativeOperationWithProxyVersion", Warning, "the same for some versions of the proxy", "the operation %s depends on what other filters have made, and holds for some versions of the proxy only: an upgrade may lose it; set a priority"},
	{"IST0157", "InvalidTelemetryProvider", Warning, "a Telemetry without providers", "neither the entry nor the mesh's configuration names a provider: the entry has no effect"},
	{"IST0159", "ConflictingTelemetryWorkloadSelectors", Error, "Telemetries that select the same workload", "the Telemetries %s all select the workload %s; the oldest counts"},
	{"IST0160", "MultipleTelemetriesWithoutWorkloadSelectors", Error, "Telemetries of one namespace without selectors", "the Telemetries %s of the namespace have no selector; the oldest counts"},
	{"IST0161", "InvalidGatewayCredential", Error, "a gateway with a credential that cannot serve", "the Secret %s cannot serve: %s"},
	{"IST0162", "GatewayPortNotDefinedOnService", Warning, "a port of a gateway that no Service reaches", "no Service of the gateway's workload leads to its port %d"},
	{"IST0166", "IneffectiveSelector", Warning, "a policy that selects a gateway of the Gateway API by labels", "the workloads of the Gateway %s are not selected by labels; use targetRefs"},
	{"IST0167", "IneffectivePolicy", Warning, "a policy without effect where it is", "the namespace is in ambient mode, where a Sidecar has no effect"},
	{"IST0173", "DestinationRuleSubsetNotSelectPods", Error, "a subset that selects no workload", "%s"},

	{"LTN0001", "Invalid", Error, "refused; a safe effect or the last good version is in force", "%s"},
	{"LTN0002", "Shadowed", Warning, "another object or an earlier rule wins", "%s"},
	{"LTN0003", "SelectsNothing", Warning, "correct, but nothing matches it", "%s"},
	{"LTN0004", "Waiting", Warning, "acts as soon as something that it names exists", "%s"},
	{"LTN0005", "Unsupported", Warning, "this data plane cannot do it", "%s"},
	{"LTN0006", "NotActedOn", Info, "read, but not acted on yet", "%s"},
	{"LTN0007", "Differs", Info, "acts, but on purpose not as in Istio", "%s"},
	{"LTN0008", "VirtualServicesMerged", Info, "VirtualServices for one host whose rules are merged here, and would not be in Istio", "the rules for the host %s are merged with those of %s; Istio's sidecars use one of the objects (IST0109)"},
}

// Codes lists all codes in order.
func Codes() []Code { return slices.Clone(codes) }

// codeOf finds a code of the table.
func codeOf(name string) Code {
	i, ok := slices.BinarySearchFunc(codes, name, func(c Code, name string) int { return cmp.Compare(c.Code, name) })
	if !ok {
		return Code{Code: name, Name: "Unknown", Level: Error, Template: "%s"} // a test names every code that analyzers use
	}
	return codes[i]
}

// own are the codes of verdicts for which Istio has none.
var own = map[verdict.Code]string{
	verdict.Invalid: "LTN0001", verdict.Shadowed: "LTN0002", verdict.SelectsNothing: "LTN0003", verdict.Waiting: "LTN0004",
	verdict.Unsupported: "LTN0005", verdict.NotActedOn: "LTN0006", verdict.Differs: "LTN0007",
}

// pipeline tells which verdicts of the pipeline Istio has a code for: those whose
// message holds all of the words. The first that matches counts. The cases in
// testdata hold the words.
var pipeline = []struct {
	verdict verdict.Code
	words   []string
	code    string
}{
	{verdict.Waiting, []string{"is not known"}, "IST0101"},
	{verdict.Waiting, []string{"does not exist"}, "IST0101"},
	{verdict.Waiting, []string{"defines the subset"}, "IST0101"},
	{verdict.Waiting, []string{"usable Secret"}, "IST0101"},
	{verdict.Waiting, []string{"has no port"}, "IST0101"},
	{verdict.Waiting, []string{"without its proxy"}, "IST0103"},
	{verdict.SelectsNothing, []string{"the selector matches no workload of the namespace"}, "IST0127"},
	{verdict.SelectsNothing, []string{"the selector matches no workload"}, "IST0101"},
	{verdict.SelectsNothing, []string{"the mesh has no service"}, "IST0101"},
	{verdict.SelectsNothing, []string{"has the labels of the subset"}, "IST0173"},
	{verdict.SelectsNothing, []string{"has one of the hosts"}, "IST0132"},
	{verdict.Shadowed, []string{"takes every request of this match"}, "IST0131"},
	{verdict.Shadowed, []string{"takes every request"}, "IST0130"},
	{verdict.Shadowed, []string{"serves the host"}, "IST0145"},
	{verdict.Shadowed, []string{"at the gateway"}, "LTN0002"},
	{verdict.Shadowed, []string{"is older and has the same conditions for the host"}, "IST0109"},
}

// verdictCode picks the code of a verdict.
func verdictCode(s verdict.Status) Code {
	for _, r := range pipeline {
		has := func(w string) bool { return strings.Contains(s.Message, w) }
		if r.verdict == s.Code && !slices.ContainsFunc(r.words, func(w string) bool { return !has(w) }) {
			return codeOf(r.code)
		}
	}
	return codeOf(own[s.Code])
}
