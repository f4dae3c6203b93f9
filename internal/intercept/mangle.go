package intercept

// manglePrerouting drops what is invalid and, in TPROXY mode, gives inbound
// connections to the proxy with their addresses unchanged: packets get a mark, by
// which a routing rule makes them local (Documentation/networking/tproxy.rst).
func (p podRules) manglePrerouting() (rules []Rule) {
	add := func(r ...Rule) { rules = append(rules, r...) }
	if p.DropInvalid {
		add(Rule{States: Invalid, Verdict: Drop, Explanation: "out of the window"})
	}
	if p.Mode != ModeTProxy || len(p.inboundPorts()) == 0 {
		return rules
	}
	add(Rule{Proto: TCP, Mark: p.Mark, SaveMark: true, Explanation: "the proxy calls its application with the client's address"},
		Rule{Proto: TCP, Interface: "lo", Source: p.pass, Explanation: "the proxy calls its own application"},
		Rule{Proto: TCP, Interface: "lo", NotMark: outboundMark, Explanation: "inside the pod"})
	add(p.notCaptured()...)
	for _, port := range p.inboundPorts() {
		add(Rule{Proto: TCP, DestPort: port, States: Established | Related, SetMark: p.Mark, Explanation: "a connection that the proxy has"},
			Rule{Proto: TCP, DestPort: port, NotDest: p.loopback, TProxy: p.InboundPort, SetMark: p.Mark, Explanation: "to the proxy"},
			// Where no socket is, nft's tproxy lets the packet go on to the application.
			Rule{Proto: TCP, DestPort: port, NotDest: p.loopback, Verdict: Drop, Explanation: "the proxy does not listen"})
	}
	return rules
}

// mangleOutput marks, in TPROXY mode, the proxy's calls to its own pod, so that
// they are captured as any caller's, and the application's answers to connections
// that the proxy made with a client's address, so that they stay in the pod.
func (p podRules) mangleOutput() (rules []Rule) {
	if p.Mode != ModeTProxy || len(p.inboundPorts()) == 0 {
		return nil
	}
	for _, name := range p.ExcludeInterfaces {
		rules = append(rules, Rule{Interface: name, Explanation: "excluded interface"})
	}
	rules = append(rules, Rule{Proto: TCP, Interface: "lo", Mark: p.Mark, Explanation: "the proxy calls its application with the client's address"})
	for _, o := range p.proxy() {
		rules = append(rules, Rule{Proto: TCP, Interface: "lo", NotDest: p.loopback, NotSource: p.pass, Owners: []Owner{o},
			SetMark: outboundMark, Verdict: Continue, Explanation: "the proxy calls its own pod: as any caller"})
	}
	return append(rules, Rule{Proto: TCP, ConnMark: p.Mark, RestoreMark: true, Explanation: "an answer to the client's address"})
}

// Zones of connection tracking. An application's question and the agent's own
// to the same server may have equal addresses and ports; in one zone the second
// would be taken for the first.
const (
	upstreamZone    = 1 // between the agent and name servers
	applicationZone = 2 // between applications and the agent
)

// rawOutput puts what processes send about names into zones.
func (p podRules) rawOutput() (rules []Rule) {
	if !p.CaptureDNS {
		return nil
	}
	for _, o := range p.proxy() {
		rules = append(rules,
			Rule{Proto: UDP, DestPort: 53, Owners: []Owner{o}, Zone: upstreamZone, Explanation: "the agent asks a name server"},
			Rule{Proto: UDP, SourcePort: p.DNSPort, Owners: []Owner{o}, Zone: applicationZone, Explanation: "the agent answers the application"})
	}
	return append(rules, p.names(func(proto Proto, r Rule) Rule {
		r.Proto, r.DestPort, r.Zone, r.Explanation = proto, 53, applicationZone, "the application asks a name server"
		return r
	}, UDP)...)
}

// rawPrerouting puts the answers of name servers into the agent's zone.
func (p podRules) rawPrerouting() []Rule {
	return p.names(func(proto Proto, r Rule) Rule {
		r.Source, r.Dest = r.Dest, r.Source
		r.Proto, r.SourcePort, r.Zone, r.Explanation = proto, 53, upstreamZone, "a name server answers the agent"
		return r
	}, UDP)
}
