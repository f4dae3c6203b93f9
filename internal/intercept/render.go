package intercept

import (
	"fmt"
	"net/netip"
	"strings"
)

// String renders the tables as `nft list ruleset` does, for people and golden
// tests.
func (rs Ruleset) String() string {
	var b strings.Builder
	for _, t := range rs {
		b.WriteString(t.String())
	}
	return b.String()
}

// String renders the table as `nft list table` does.
func (t Table) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table %s %s {\n", t.Family, t.Name)
	for _, c := range t.Chains {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype %s hook %s priority %s; policy accept;\n", c.Name, c.kind(), c.Hook, c.priority())
		for _, r := range c.Rules {
			fmt.Fprintf(&b, "\t\t%s\n", r.render(t.Family, c.Hook))
		}
		b.WriteString("\t}\n")
	}
	b.WriteString("}\n")
	return b.String()
}

// String gives nft's name of the family.
func (f Family) String() string { return [...]string{"ip", "ip6"}[f] }

// kind gives nft's name of the chain's type. A chain of outgoing packets that sets
// marks must be of the type that routes again.
func (c Chain) kind() string {
	switch {
	case c.Stage == NAT:
		return "nat"
	case c.Stage == Mangle && c.Hook == Output:
		return "route"
	}
	return "filter"
}

// priority gives nft's name of the chain's place among others; at the output hook
// dstnat's has none.
func (c Chain) priority() string {
	if c.Stage == NAT && c.Hook == Output {
		return "-100"
	}
	return [...]string{"dstnat", "mangle", "raw"}[c.Stage]
}

// String gives nft's name of the hook.
func (h Hook) String() string { return [...]string{"output", "prerouting"}[h] }

// String gives nft's name of the protocol.
func (p Proto) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	}
	return "any"
}

// String gives nft's words for the set of states.
func (s State) String() string {
	var words []string
	for bit, word := range []string{"invalid", "established", "related"} {
		if s&(1<<bit) != 0 {
			words = append(words, word)
		}
	}
	return strings.Join(words, ",")
}

// String renders the condition.
func (o Owner) String() string {
	s := "meta skuid "
	if o.Group {
		s = "meta skgid "
	}
	if o.Not {
		s += "!= "
	}
	return s + fmt.Sprint(o.ID)
}

func (r Rule) render(f Family, h Hook) string {
	parts := r.conditions(f, h)
	parts = append(parts, r.actions()...)
	return strings.Join(parts, " ") + " comment \"" + r.Explanation + "\""
}

func (r Rule) conditions(f Family, h Hook) (parts []string) {
	add := func(set bool, format string, args ...any) {
		if set {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(r.Mark != 0, "meta mark %d", r.Mark)
	add(r.NotMark != 0, "meta mark != %d", r.NotMark)
	add(r.ConnMark != 0, "ct mark %d", r.ConnMark)
	add(r.States != 0, "ct state %s", r.States)
	add(r.Interface != "", "%s %q", [...]string{"oifname", "iifname"}[h], r.Interface)
	for _, o := range r.Owners {
		add(true, "%s", o)
	}
	add(r.Source.IsValid(), "%s saddr %s", f, prefixText(r.Source))
	add(r.NotSource.IsValid(), "%s saddr != %s", f, prefixText(r.NotSource))
	add(r.Dest.IsValid(), "%s daddr %s", f, prefixText(r.Dest))
	add(r.NotDest.IsValid(), "%s daddr != %s", f, prefixText(r.NotDest))
	add(r.SourcePort != 0, "%s sport %d", r.Proto, r.SourcePort)
	for _, p := range r.NotDestPorts {
		add(true, "%s dport != %d", r.Proto, p)
	}
	add(r.DestPort != 0, "%s dport %d", r.Proto, r.DestPort)
	if r.Proto != AnyProto && r.DestPort == 0 && r.SourcePort == 0 && len(r.NotDestPorts) == 0 {
		add(true, "meta l4proto %s", r.Proto)
	}
	return parts
}

func (r Rule) actions() (parts []string) {
	add := func(set bool, format string, args ...any) {
		if set {
			parts = append(parts, fmt.Sprintf(format, args...))
		}
	}
	add(r.Zone != 0, "ct zone set %d", r.Zone)
	add(r.TProxy != 0, "tproxy to :%d", r.TProxy)
	add(r.SetMark != 0, "meta mark set %d", r.SetMark)
	add(r.SaveMark, "ct mark set meta mark")
	add(r.RestoreMark, "meta mark set ct mark")
	switch {
	case r.Redirect != 0:
		add(true, "redirect to :%d", r.Redirect)
	case r.Verdict == Accept:
		add(true, "accept")
	case r.Verdict == Drop:
		add(true, "drop")
	}
	return parts
}

// prefixText leaves the length of a single address out, as nft does.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
