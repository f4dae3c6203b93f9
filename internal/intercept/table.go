package intercept

import "net/netip"

// Family is the address family of a table.
type Family uint8

const (
	IPv4 Family = iota
	IPv6
)

// Stage is a chain's kind: when it sees a packet, and what it may do with it.
type Stage uint8

const (
	NAT    Stage = iota // redirects the first packet of a connection, and with it the rest
	Mangle              // before NAT: marks, transparent proxying, dropping
	Raw                 // before connection tracking: zones
)

// Hook is the place of a chain in the packet's way.
type Hook uint8

const (
	Output     Hook = iota // packets that local processes send
	Prerouting             // packets that come in
)

// Proto is a transport protocol; 0 is any.
type Proto uint8

const (
	AnyProto Proto = 0
	TCP      Proto = 6
	UDP      Proto = 17
)

// Owner is a condition on the user or group that made the sending socket.
type Owner struct {
	Group bool // ID is a group
	Not   bool
	ID    uint32
}

// State is a set of states of connection tracking.
type State uint8

const (
	Invalid     State = 1 // the kernel's bits
	Established State = 2
	Related     State = 4
)

// Verdict ends a rule that does not redirect.
type Verdict uint8

const (
	Accept Verdict = iota // the rest of the chain is not asked
	Drop
	Continue // with the next rule
)

// Rule is one rule: every condition that is set must hold; then every action
// that is set is done. A redirection ends the chain, else Verdict says how it
// goes on.
type Rule struct {
	// Conditions.
	Proto        Proto
	DestPort     uint16       // 0: any; needs Proto
	NotDestPorts []uint16     // needs Proto
	SourcePort   uint16       // 0: any; needs Proto
	Dest         netip.Prefix // zero: any
	NotDest      netip.Prefix // zero: any
	Source       netip.Prefix // zero: any
	NotSource    netip.Prefix // zero: any
	Interface    string       // outgoing for Output, incoming for Prerouting; "": any
	Owners       []Owner      // only for Output
	Mark         uint32       // 0: any
	NotMark      uint32       // 0: any
	ConnMark     uint32       // the connection's; 0: any
	States       State        // 0: any

	// Actions.
	Redirect    uint16 // to this local port (NAT)
	TProxy      uint16 // to the transparent socket at this port (Mangle, Prerouting)
	SetMark     uint32
	SaveMark    bool   // the packet's mark becomes the connection's
	RestoreMark bool   // the connection's mark becomes the packet's
	Zone        uint16 // of connection tracking (Raw)
	Verdict     Verdict

	Explanation string // shown as the rule's comment
}

// Chain is an ordered list of rules at a hook; the first that matches decides.
type Chain struct {
	Name  string
	Stage Stage
	Hook  Hook
	Rules []Rule
}

// Table is a set of chains for one address family, under one name.
type Table struct {
	Name   string
	Family Family
	Chains []Chain
}

// Ruleset is all that is installed in a namespace, in one transaction.
type Ruleset []Table
