package intercept

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Settings are the options of a pod in the text forms of flags, environment and
// annotations: lists with commas, "*" for all.
type Settings struct {
	Mode                 string
	OutboundPort         string
	InboundPort          string
	TunnelPort           string
	UIDs, GIDs           string // GIDs: as UIDs if empty
	Inbound              string
	ExcludeInbound       string
	Outbound             string
	ExcludeOutbound      string
	IncludeOutboundPorts string
	ExcludeOutboundPorts string
	RerouteInterfaces    string
	ExcludeInterfaces    string
	GroupsInclude        string
	GroupsExclude        string
	Mark, RouteTable     string
	Loopback             string
	CaptureDNS           bool
	DropInvalid          bool
}

// Defaults are what `istio-iptables` does without flags: no port and no range is
// captured.
func Defaults() Settings {
	return Settings{Mode: string(ModeRedirect), OutboundPort: "15001", InboundPort: "15006", TunnelPort: "15008", UIDs: "1337",
		GroupsInclude: "*", Mark: "1337", RouteTable: "133", Loopback: "127.0.0.1/32"}
}

// maxGroups is the limit of Istio for lists of owner groups.
const maxGroups = 64

// Parse reads the settings; all mistakes are reported together, each with the
// setting's name in words.
func (s Settings) Parse() (PodOptions, error) {
	var errs []error
	fail := func(what string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", what, err))
		}
	}
	o := PodOptions{DNSPort: 15053, CaptureDNS: s.CaptureDNS, DropInvalid: s.DropInvalid}
	port := func(what, text string) uint16 {
		n, err := parsePort(text)
		fail(what, err)
		return n
	}
	ports := func(what, text string) []uint16 {
		l, err := parseList(text, parsePort)
		fail(what, err)
		return l
	}
	var err error
	o.Mode, err = parseMode(s.Mode)
	fail("interception mode", err)
	o.OutboundPort, o.InboundPort, o.TunnelPort = port("outbound port", s.OutboundPort), port("inbound port", s.InboundPort), port("tunnel port", s.TunnelPort)
	o.UIDs, err = parseList(s.UIDs, parseID)
	fail("proxy's user ids", err)
	o.GIDs, err = parseList(orElse(s.GIDs, s.UIDs), parseID)
	fail("proxy's group ids", err)
	if len(o.UIDs)+len(o.GIDs) == 0 {
		fail("proxy's user ids", errors.New("there are none: the proxy's own traffic would be redirected to it"))
	}
	if o.Inbound.All = strings.TrimSpace(s.Inbound) == "*"; !o.Inbound.All {
		o.Inbound.Ports = ports("inbound ports", s.Inbound)
	}
	o.ExcludeInbound = ports("excluded inbound ports", s.ExcludeInbound)
	o.IncludeOutboundPorts, o.ExcludeOutboundPorts = ports("included outbound ports", s.IncludeOutboundPorts), ports("excluded outbound ports", s.ExcludeOutboundPorts)
	if o.Outbound.All = strings.TrimSpace(s.Outbound) == "*"; !o.Outbound.All {
		o.Outbound.Prefixes, err = parseList(s.Outbound, parsePrefix)
		fail("outbound ranges", err)
	}
	o.ExcludeOutbound, err = parseList(s.ExcludeOutbound, parsePrefix)
	fail("excluded outbound ranges", err)
	o.RerouteInterfaces, err = parseList(s.RerouteInterfaces, parseInterface)
	fail("virtual interfaces", err)
	o.ExcludeInterfaces, err = parseList(s.ExcludeInterfaces, parseInterface)
	fail("excluded interfaces", err)
	o.Groups, err = parseGroups(s.GroupsInclude, s.GroupsExclude)
	fail("owner groups", err)
	o.Mark, err = parseMark(s.Mark)
	fail("mark", err)
	o.RouteTable, err = parseTable(s.RouteTable)
	fail("routing table", err)
	o.Loopback, err = parsePrefix(s.Loopback)
	if err == nil && !o.Loopback.Addr().Is4() {
		err = fmt.Errorf("%q is not a range of IPv4 addresses", s.Loopback)
	}
	fail("IPv4 loopback range", err)
	return o, errors.Join(errs...)
}

func orElse(s, other string) string {
	if strings.TrimSpace(s) == "" {
		return other
	}
	return s
}

// parseList reads values between commas; empty ones are left out, as are
// repetitions.
func parseList[T comparable](list string, parse func(string) (T, error)) (values []T, err error) {
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		v, err := parse(s)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	return values, nil
}

func parseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case ModeRedirect, ModeTProxy, ModeNone:
		return m, nil
	case "":
		return ModeRedirect, nil
	}
	return "", fmt.Errorf("%q is none of REDIRECT, TPROXY, NONE", s)
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q is not a port", s)
	}
	return uint16(n), nil
}

func parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 1<<32-1 { // all ones is nobody, to the kernel
		return 0, fmt.Errorf("%q is not the number of a user or group", s)
	}
	return uint32(n), nil
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not a range of addresses (CIDR)", s)
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is an IPv4 address in IPv6 form", s)
	}
	return p.Masked(), nil
}

// parseInterface follows the kernel's dev_valid_name.
func parseInterface(s string) (string, error) {
	if len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/:\" \t\n\\") {
		return "", fmt.Errorf("%q is not the name of an interface", s)
	}
	return s, nil
}

func parseGroups(include, exclude string) (GroupFilter, error) {
	in, err := parseList(strings.ReplaceAll(include, "*", ""), parseID)
	if err != nil {
		return GroupFilter{}, err
	}
	ex, err := parseList(exclude, parseID)
	if err != nil {
		return GroupFilter{}, err
	}
	all := strings.TrimSpace(include) == "*" || strings.TrimSpace(include) == ""
	switch {
	case strings.Contains(include, "*") && !all:
		return GroupFilter{}, fmt.Errorf("%q names groups beside *", include)
	case !all && len(ex) > 0:
		return GroupFilter{}, errors.New("groups are both included and excluded: only one is possible")
	case len(in) > maxGroups || len(ex) > maxGroups:
		return GroupFilter{}, fmt.Errorf("more than %d groups", maxGroups)
	case all:
		return GroupFilter{Except: true, IDs: ex}, nil
	}
	return GroupFilter{IDs: in}, nil
}

func parseMark(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 0, 32)
	if err != nil || n == 0 || n == outboundMark {
		return 0, fmt.Errorf("%q is not a mark (a number, not 0 and not %d)", s, outboundMark)
	}
	return uint32(n), nil
}

func parseTable(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 31)
	if err != nil || n == 0 || n >= 253 && n <= 255 {
		return 0, fmt.Errorf("%q is not the number of a routing table of its own", s)
	}
	return int(n), nil
}
