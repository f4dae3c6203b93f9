package analyze

// analyzer looks for something in the world.
type analyzer struct {
	name  string
	codes []string // that it may say
	run   func(*world)
}

// analyzers is the explicit list of all. Read only after initialisation.
var analyzers = []analyzer{
	{"annotations", []string{"IST0107", "IST0108", "IST0125", "IST0135", "IST0136"}, annotations},
	{"deployments.ports", []string{"IST0116", "IST0137"}, deploymentPorts},
	{"deployments.users", []string{"IST0144"}, applicationUsers},
	{"destinationrules.certificates", []string{"IST0128", "IST0129"}, serverCertificates},
	{"destinationrules.mtls", []string{"IST0113"}, mtlsConflicts},
	{"envoyfilters.operations", []string{"IST0151", "IST0152", "IST0153", "IST0154", "IST0155"}, patchOperations},
	{"gateways.certificates", []string{"IST0138", "IST0161"}, gatewayCertificates},
	{"gateways.conflicts", []string{"IST0145"}, gatewayConflicts},
	{"gateways.ports", []string{"IST0162"}, gatewayPorts},
	{"injection.images", []string{"IST0146", "IST0147"}, autoImages},
	{"injection.labels", []string{"IST0102", "IST0123"}, injectionLabels},
	{"policies.jwt", []string{"IST0119"}, tokenPorts},
	{"policies.selectors", []string{"IST0127", "IST0166"}, policySelectors},
	{"policies.targets", []string{"IST0101"}, policyTargets},
	{"serviceentries.addresses", []string{"IST0134"}, entryAddresses},
	{"services.ports", []string{"IST0118", "IST0150"}, servicePorts},
	{"sidecars.conflicts", []string{"IST0110", "IST0111", "IST0167"}, sidecarConflicts},
	{"telemetries.conflicts", []string{"IST0157", "IST0159", "IST0160"}, telemetryConflicts},
	{"virtualservices.claims", []string{"IST0149"}, claimRoutes},
	{"virtualservices.destinations", []string{"IST0112", "IST0140"}, destinations},
	{"virtualservices.merged", []string{"LTN0008"}, merged},
}

// Analyzers lists the names of all analyzers, and what they may say; "pipeline" and
// "schema" stand for the mesh's own stages.
func Analyzers() map[string][]string {
	out := map[string][]string{"schema": {"IST0002", "IST0106", "IST0122", "IST0133"}}
	for _, a := range analyzers {
		out[a.name] = a.codes
	}
	seen := map[string]bool{}
	for _, r := range pipeline {
		if !seen[r.code] {
			seen[r.code] = true
			out["pipeline"] = append(out["pipeline"], r.code)
		}
	}
	for _, code := range own {
		if !seen[code] {
			out["pipeline"] = append(out["pipeline"], code)
		}
	}
	return out
}
