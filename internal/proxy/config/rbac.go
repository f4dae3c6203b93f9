package config

import "net/netip"

// Access is one filter envoy.filters.http.rbac or envoy.filters.network.rbac.
// Package match decides by it.
type Access struct {
	Rules  *RBAC // enforced; nil: everything is allowed
	Shadow *RBAC // evaluated and reported only (a dry run); nil: none
	// StatPrefix (network filters only), RulesPrefix and ShadowPrefix are parts of the
	// names of counters; ShadowPrefix also of the dynamic metadata that a dry run
	// leaves.
	StatPrefix, RulesPrefix, ShadowPrefix string
}

// RBAC is envoy.config.rbac.v3.RBAC.
type RBAC struct {
	Action Action
	// Policies are in the order of their names, in which they are evaluated: the
	// first that matches is the one that logs name.
	Policies []*AccessPolicy
}

// Action is RBAC.Action: what a policy that matches means.
type Action uint8

const (
	ActionAllow Action = iota // allow what matches, deny the rest
	ActionDeny                // deny what matches, allow the rest
	ActionLog                 // allow everything; what matches is marked for the log
)

// String gives "ALLOW", "DENY" or "LOG".
func (a Action) String() string { return [...]string{"ALLOW", "DENY", "LOG"}[a] }

// AccessPolicy is envoy.config.rbac.v3.Policy. It matches if one of the permissions and
// one of the principals hold.
type AccessPolicy struct {
	Name        string
	Permissions Condition
	Principals  Condition
}

// Condition is a Permission or a Principal: what it looks at does not differ.
type Condition struct {
	Kind   ConditionKind
	Parts  []Condition // CondAll, CondAny; the one of CondNot
	Header *HeaderMatch
	Text   *StringMatch // CondPath, CondServerName, CondPrincipal (nil: any), CondPeer
	Prefix netip.Prefix // of the kinds about addresses
	// PortLo ≤ port < PortHi
	PortLo, PortHi uint32
	Metadata       *MetadataMatch
}

// ConditionKind is what a Condition looks at.
type ConditionKind uint8

const (
	CondAlways ConditionKind = iota // any
	CondAll                         // and_rules, and_ids
	CondAny                         // or_rules, or_ids
	CondNot                         // not_rule, not_id
	CondHeader
	CondPath       // url_path, and uri_template as a pattern: the path without query and fragment
	CondDestIP     // destination_ip: the address that the client meant
	CondDestPort   // destination_port, destination_port_range
	CondServerName // requested_server_name; "" without
	CondMetadata   // dynamic metadata
	CondPrincipal  // authenticated: one of the URI names, DNS names or the subject of the client's certificate
	CondSourceIP   // source_ip: the connection's client, by the PROXY protocol where that is used
	CondDirectIP   // direct_remote_ip: the other end of the socket
	CondRemoteIP   // remote_ip: the client by x-forwarded-for, as far as that is trusted
	CondPeer       // filter_state io.istio.peer_principal: the peer's SPIFFE id
)

// MetadataMatch is envoy.type.matcher.v3.MetadataMatcher.
type MetadataMatch struct {
	Filter string
	Path   []string
	Value  ValueMatch
	Invert bool
}

// ValueMatch is envoy.type.matcher.v3.ValueMatcher.
type ValueMatch struct {
	Kind   ValueKind
	Text   StringMatch
	Bool   bool         // of ValueBool and ValuePresent
	Lo, Hi float64      // ValueNumber: Lo ≤ v < Hi, or v == Lo where Lo == Hi
	Parts  []ValueMatch // ValueAny; the one of ValueList
}

// ValueKind is the kind of a ValueMatch.
type ValueKind uint8

const (
	ValuePresent ValueKind = iota // a primitive value; where Bool is false, nothing (as Envoy does)
	ValueNull
	ValueNumber
	ValueText
	ValueBool
	ValueList // a list with an element that matches
	ValueAny  // one of several matches
)

// MetadataNamespace is the filter name under which dry runs leave their results,
// and later filters find them.
const MetadataNamespace = "envoy.filters.http.rbac"

// PeerPrincipal is the filter state that Istio's waypoints match identities by.
const PeerPrincipal = "io.istio.peer_principal"
