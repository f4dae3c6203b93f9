package command

import (
	"flag"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/lateen-mesh/lateen/internal/intercept"
)

// request is what the command line and the environment ask for.
type request struct {
	settings         intercept.Settings
	captureAllDNS    bool
	dryRun           bool
	cleanupOnly      bool
	skipApply        bool
	validate         bool
	probePort        uint
	probeTimeout     time.Duration
	networkNamespace string
	noted            []string // flags that were given and change nothing
}

// option is a flag under its long and short name, with the environment variables
// that stand in for it.
type option struct {
	long, short string
	env         []string
	usage       string
	value       flag.Value
}

// text, truth, number and span are values of flags.
type (
	text   struct{ p *string }
	truth  struct{ p *bool }
	number struct{ p *uint }
	span   struct{ p *time.Duration }
)

func (v text) Set(s string) error { *v.p = s; return nil }
func (v text) String() string {
	if v.p == nil {
		return ""
	}
	return *v.p
}

func (v truth) IsBoolFlag() bool { return true }
func (v truth) String() string   { return strconv.FormatBool(v.p != nil && *v.p) }
func (v truth) Set(s string) (err error) {
	*v.p, err = strconv.ParseBool(s)
	return err
}

func (v number) String() string {
	if v.p == nil {
		return "0"
	}
	return strconv.FormatUint(uint64(*v.p), 10)
}
func (v number) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	*v.p = uint(n)
	return err
}

func (v span) String() string {
	if v.p == nil {
		return "0s"
	}
	return v.p.String()
}
func (v span) Set(s string) (err error) {
	*v.p, err = time.ParseDuration(s)
	return err
}

// options lists the flags. Names, short names and variables are those of
// `pilot-agent istio-iptables`.
func (r *request) options() []option {
	s := &r.settings
	return []option{
		{"envoy-port", "p", []string{"ENVOY_PORT"}, "port of the proxy that outbound TCP is redirected to", text{&s.OutboundPort}},
		{"inbound-capture-port", "z", []string{"INBOUND_CAPTURE_PORT"}, "port of the proxy that inbound TCP is redirected to", text{&s.InboundPort}},
		{"inbound-tunnel-port", "e", []string{"INBOUND_TUNNEL_PORT"}, "port of tunnels, never redirected", text{&s.TunnelPort}},
		{"proxy-uid", "u", []string{"PROXY_UID"}, "users whose traffic passes, with commas", text{&s.UIDs}},
		{"proxy-gid", "g", []string{"PROXY_GID"}, "groups whose traffic passes, with commas (default: as -u)", text{&s.GIDs}},
		{"istio-inbound-interception-mode", "m", []string{"ISTIO_INBOUND_INTERCEPTION_MODE"}, "REDIRECT, TPROXY or NONE", text{&s.Mode}},
		{"istio-inbound-ports", "b", []string{"ISTIO_INBOUND_PORTS"}, "inbound ports to redirect, with commas; * is all, nothing is none", text{&s.Inbound}},
		{"istio-local-exclude-ports", "d", []string{"ISTIO_LOCAL_EXCLUDE_PORTS"}, "inbound ports not to redirect, where -b is *", text{&s.ExcludeInbound}},
		{"istio-exclude-interfaces", "c", []string{"ISTIO_EXCLUDE_INTERFACES"}, "interfaces whose traffic is not redirected", text{&s.ExcludeInterfaces}},
		{"istio-service-cidr", "i", []string{"ISTIO_SERVICE_CIDR"}, "destinations to redirect (CIDR), with commas; * is all, nothing is none", text{&s.Outbound}},
		{"istio-service-exclude-cidr", "x", []string{"ISTIO_SERVICE_EXCLUDE_CIDR"}, "destinations not to redirect (CIDR)", text{&s.ExcludeOutbound}},
		{"istio-outbound-ports", "q", []string{"ISTIO_OUTBOUND_PORTS"}, "outbound ports to redirect beside -i", text{&s.IncludeOutboundPorts}},
		{"istio-local-outbound-ports-exclude", "o", []string{"ISTIO_LOCAL_OUTBOUND_PORTS_EXCLUDE"}, "outbound ports not to redirect, TCP and UDP", text{&s.ExcludeOutboundPorts}},
		{"kube-virt-interfaces", "k", []string{"KUBE_VIRT_INTERFACES"}, "interfaces of virtual machines: what comes in from them is outbound", text{&s.RerouteInterfaces}},
		{"istio-inbound-tproxy-mark", "t", []string{"ISTIO_INBOUND_TPROXY_MARK"}, "packet mark of TPROXY mode", text{&s.Mark}},
		{"istio-inbound-tproxy-route-table", "r", []string{"ISTIO_INBOUND_TPROXY_ROUTE_TABLE"}, "routing table of TPROXY mode", text{&s.RouteTable}},
		{"outbound-owner-groups", "", []string{"ISTIO_OUTBOUND_OWNER_GROUPS"}, "groups whose traffic is redirected, with commas; * is all", text{&s.GroupsInclude}},
		{"outbound-owner-groups-exclude", "", []string{"ISTIO_OUTBOUND_OWNER_GROUPS_EXCLUDE"}, "groups whose traffic is not redirected", text{&s.GroupsExclude}},
		{"outbound-ipv4-loopback-cidr", "", []string{"ISTIO_OUTBOUND_IPV4_LOOPBACK_CIDR"}, "addresses that are inside the pod", text{&s.Loopback}},
		{"redirect-dns", "", []string{"REDIRECT_DNS", "ISTIO_META_DNS_CAPTURE"}, "redirect names (port 53 of the servers in /etc/resolv.conf)", truth{&s.CaptureDNS}},
		{"capture-all-dns", "", []string{"CAPTURE_ALL_DNS"}, "with --redirect-dns: port 53 of every server", truth{&r.captureAllDNS}},
		{"drop-invalid", "", []string{"DROP_INVALID", "INVALID_DROP"}, "drop packets that belong to no connection, instead of resetting it", truth{&s.DropInvalid}},
		{"dry-run", "n", []string{"DRY_RUN"}, "print what would be installed", truth{&r.dryRun}},
		{"cleanup-only", "", []string{"CLEANUP_ONLY"}, "take away what an earlier run installed", truth{&r.cleanupOnly}},
		{"skip-rule-apply", "", []string{"SKIP_RULE_APPLY"}, "install nothing", truth{&r.skipApply}},
		{"run-validation", "", []string{"RUN_VALIDATION"}, "check with a connection that redirection works; exit code 126 if not", truth{&r.validate}},
		{"iptables-probe-port", "", []string{"IPTABLES_PROBE_PORT"}, "port of the check", number{&r.probePort}},
		{"probe-timeout", "", []string{"PROBE_TIMEOUT"}, "time for the check", span{&r.probeTimeout}},
		{"network-namespace", "", []string{"NETWORK_NAMESPACE"}, "path of the network namespace to work in", text{&r.networkNamespace}},
	}
}

// needless are flags of `pilot-agent istio-iptables` for choices that do not
// exist here, and why.
var needless = []struct{ name, why string }{
	{"force-apply", "rules are always replaced as a whole"},
	{"reconcile", "rules are always replaced as a whole"},
	{"dual-stack", "both address families are always captured"},
	{"native-nftables", "rules are always those of nftables"},
	{"cni-mode", "no lock file is used"},
	{"iptables-trace-logging", "rules do not log"},
}

// parse reads the command line; flags come before the environment, that before
// defaults.
func parse(errs io.Writer, getenv func(string) string, args []string) (*request, error) {
	r := &request{settings: intercept.Defaults(), probePort: 15002, probeTimeout: 5 * time.Second}
	fs := flag.NewFlagSet(Name, flag.ContinueOnError)
	fs.SetOutput(errs)
	for _, o := range r.options() {
		for _, name := range o.env {
			v := getenv(name)
			if v == "" {
				continue
			}
			if err := o.value.Set(v); err != nil {
				return nil, fmt.Errorf("environment variable %s: %q: %w", name, v, err)
			}
			break
		}
		fs.Var(o.value, o.long, o.usage)
		if o.short != "" {
			fs.Var(o.value, o.short, "short for --"+o.long)
		}
	}
	for _, n := range needless {
		fs.BoolFunc(n.name, "accepted and not needed: "+n.why, func(string) error {
			r.noted = append(r.noted, "--"+n.name+" changes nothing: "+n.why)
			return nil
		})
	}
	fs.Func("force-iptables-binary", "accepted and not needed: no program is called", func(string) error {
		r.noted = append(r.noted, "--force-iptables-binary changes nothing: no program is called")
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	return r, nil
}
