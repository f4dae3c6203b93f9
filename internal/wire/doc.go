// Package wire holds what Lateen's proxies and control plane say to each other
// besides Envoy's xDS: small messages in protobuf's wire format, written and read
// by hand, so that the sidecar links no more for them.
//
// The rule for versions: a field number, once used, keeps its meaning; readers
// skip fields that they do not know; a missing field is its zero value. So a proxy
// understands a control plane one version away in either direction.
//
// # Names
//
// A proxy that answers its workload's questions for names (DNS capture) subscribes
// to all resources ("*") of [NameTableType] in its ADS stream. The mesh's names are
// the union of all resources of the type that the proxy has; today there is one,
// called [NameTableResource]. It holds only what the cluster's own DNS does not
// know: hosts of ServiceEntries, and services whose address is the mesh's. For a
// name that is not there, the proxy asks the resolvers of the pod's resolv.conf.
//
// # Demand
//
// A proxy that is told to hold only what its workload calls asks before the first
// call: see [DemandType].
//
// # Reports and taps
//
// Beside its ADS stream a proxy opens one to [ObserveService], on the same connection
// and with the same credentials: it reports what it has counted, and is asked for live
// requests.
package wire
