package local

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/dns"
	"github.com/lateen-mesh/lateen/internal/intercept"
	"github.com/lateen-mesh/lateen/internal/local/netns"
	"github.com/lateen-mesh/lateen/internal/local/supervise"
	"github.com/lateen-mesh/lateen/internal/ops/process"
	"github.com/lateen-mesh/lateen/internal/proxy/overload"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
)

// runtime makes places for pods: a namespace in the mesh's network with DNS, a
// sidecar, and sandboxes. It implements supervise.Runtime.
type runtime struct {
	o        *Options
	network  *netns.Network
	ports    *netns.HostPorts
	names    *dns.Table
	resolver *dns.Host
	watch    *rawio.Watch
	settings *process.Runtime
	guard    *overload.Monitor // of the whole process
	tokens   *ca.Tokens
	issuer   *grpc.ClientConn // to the control plane, for certificates
	users    bool             // workloads run as another user
	log      *slog.Logger

	mu      sync.Mutex
	outputs map[string]*output // guarded by mu, by file
	number  int                // guarded by mu: numbers the proxies' directories
}

// Open implements supervise.Runtime.
func (r *runtime) Open(ctx context.Context, p *supervise.PodSpec) (supervise.Place, error) {
	rules, err := interception(p)
	if err != nil {
		return nil, err
	}
	kind := r.o.Sidecar
	if k := p.Annotations[ProxyAnnotation]; k != "" {
		kind = k
	}
	switch {
	case kind != Native && kind != Envoy:
		return nil, fmt.Errorf("annotation %s: %q is neither %s nor %s", ProxyAnnotation, kind, Native, Envoy)
	case kind == Envoy && r.o.EnvoyPath == "":
		return nil, fmt.Errorf("annotation %s: no Envoy is known, start the mesh with --envoy PATH", ProxyAnnotation)
	case r.users && p.RunAsUser != nil && *p.RunAsUser == 0:
		return nil, errors.New("securityContext.runAsUser: workloads do not run as root of this machine")
	}
	if _, err := r.onDemand(p); err != nil {
		return nil, err
	}
	if err := r.setAside(p); err != nil {
		return nil, fmt.Errorf("old output of %s/%s: %w", p.Namespace, p.Name, err)
	}
	at, err := r.network.Add(rules)
	if err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	pl := &place{runtime: r, spec: p, at: at, cancel: cancel, log: r.log.With("pod", p.Namespace+"/"+p.Name)}
	if err := pl.start(life, kind); err != nil {
		return nil, errors.Join(err, pl.Close())
	}
	return pl, nil
}

// Istio's annotations that change what is redirected.
const (
	trafficPrefix        = "traffic.sidecar.istio.io/"
	includeInboundPorts  = trafficPrefix + "includeInboundPorts"
	excludeInboundPorts  = trafficPrefix + "excludeInboundPorts"
	excludeOutboundPorts = trafficPrefix + "excludeOutboundPorts"
	includeOutboundCIDRs = trafficPrefix + "includeOutboundIPRanges"
	excludeOutboundCIDRs = trafficPrefix + "excludeOutboundIPRanges"
)

// interception gives the redirection rules for a pod: none for gateways, names
// only for pods without a proxy.
func interception(p *supervise.PodSpec) (*intercept.Options, error) {
	switch {
	case p.Gateway:
		return nil, nil
	case !p.Injected:
		return &intercept.Options{DNSOnly: true}, nil
	}
	var o intercept.Options
	for name, value := range p.Annotations {
		var err error
		switch name {
		case includeInboundPorts:
			o.IncludeInbound, err = parsePorts(value)
		case excludeInboundPorts:
			o.ExcludeInbound, err = parsePorts(value)
		case excludeOutboundPorts:
			o.ExcludeOutbound, err = parsePorts(value)
		case includeOutboundCIDRs:
			o.IncludeCIDRs, err = parsePrefixes(value)
		case excludeOutboundCIDRs:
			o.ExcludeCIDRs, err = parsePrefixes(value)
		default:
			if strings.HasPrefix(name, trafficPrefix) {
				err = errors.New("it is not supported")
			}
		}
		if err != nil {
			return nil, fmt.Errorf("annotation %s: %w", name, err)
		}
	}
	return &o, nil
}

// parsePorts reads "80,443"; "*" and "" stand for no choice.
func parsePorts(list string) (ports []uint16, err error) {
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s == "" || s == "*" {
			continue
		}
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil || n == 0 {
			return nil, fmt.Errorf("%q is not a port", s)
		}
		ports = append(ports, uint16(n))
	}
	return ports, nil
}

func parsePrefixes(list string) (prefixes []netip.Prefix, err error) {
	for s := range strings.SplitSeq(list, ",") {
		if s = strings.TrimSpace(s); s == "" || s == "*" {
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil || !p.Addr().Is4() {
			return nil, fmt.Errorf("%q is not a range of IPv4 addresses", s)
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

// logFile is where a container's output goes; "proxy" is the sidecar's.
func (r *runtime) logFile(namespace, pod, container string) string {
	return filepath.Join(r.o.Dirs.logs(), namespace+"_"+pod+"_"+container+".log")
}

// output gives the log file of a container, which restarts share.
func (r *runtime) output(p *supervise.PodSpec, container string) (*output, error) {
	path := r.logFile(p.Namespace, p.Name, container)
	r.mu.Lock()
	defer r.mu.Unlock()
	if o := r.outputs[path]; o != nil {
		return o, nil
	}
	o, err := openOutput(path)
	if err != nil {
		return nil, fmt.Errorf("log of %s/%s: %w", p.Namespace, p.Name, err)
	}
	r.outputs[path] = o
	return o, nil
}

// setAside keeps the output of an earlier pod of this name as NAME.1: what a new
// pod writes starts anew.
func (r *runtime) setAside(p *supervise.PodSpec) error {
	files, err := filepath.Glob(r.logFile(p.Namespace, p.Name, "*"))
	for _, f := range files {
		err = errors.Join(err, os.Rename(f, f+".1"))
	}
	return err
}

// forget closes the log files of a pod that is gone.
func (r *runtime) forget(p *supervise.PodSpec) error {
	prefix := r.logFile(p.Namespace, p.Name, "")
	prefix = strings.TrimSuffix(prefix, ".log")
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for path, o := range r.outputs {
		if strings.HasPrefix(path, prefix) {
			errs = append(errs, o.Close())
			delete(r.outputs, path)
		}
	}
	return errors.Join(errs...)
}

// proxyDir gives a short directory of its own for a proxy's process.
func (r *runtime) proxyDir() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.number++
	return filepath.Join(r.o.Dirs.Runtime, "proxies", strconv.Itoa(r.number))
}

// xds is the control plane's address.
func (r *runtime) xds() string { return "unix://" + filepath.Join(r.o.Dirs.Runtime, "xds.sock") }

// tokenLife is how long a workload's token is valid; processes get a new one
// at half of it.
const tokenLife = 24 * 60 * 60 // seconds

// user gives whom a pod's programs run as; nil where there is no choice.
func (r *runtime) user(p *supervise.PodSpec) (uid, gid *int) {
	if !r.users {
		return nil, nil
	}
	pick := func(v *int64) *int {
		n := workloadUser
		if v != nil {
			n = int(*v)
		}
		return &n
	}
	return pick(p.RunAsUser), pick(p.RunAsGroup)
}
