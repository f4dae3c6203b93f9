package istioapi

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// Labels of Istio's that concern entries.
const (
	autoAllocateLabel = "networking.istio.io/enable-autoallocate-ip"
	tlsModeLabel      = "security.istio.io/tlsMode"
	localityLabel     = "istio-locality"
)

// serviceEntry makes a service of each of the hosts.
func (r *reader) serviceEntry(o *api.Object, meta mesh.Meta, in *networking.ServiceEntry) {
	spec := meta.Origin.At("spec")
	base := registry.Service{
		Origin:    meta.Origin,
		Namespace: o.Meta.Namespace,
		Created:   meta.Created,
		Selector:  in.GetWorkloadSelector().GetLabels(),
		ExportTo:  r.exportTo(spec.At("exportTo"), in.ExportTo),
		Object:    o.Meta.Name,
	}
	base.Distribution = r.distribution(o, spec, nil)
	for i, p := range in.Ports {
		if sp, ok := r.entryPort(spec.At(index("ports", i)), p); ok {
			base.Ports = append(base.Ports, sp)
		}
	}
	e := registry.Entry{
		External:   in.Location == networking.ServiceEntry_MESH_EXTERNAL,
		Resolution: r.resolution(spec.At("resolution"), in.Resolution),
		Addresses:  r.addresses(spec.At("addresses"), in.Addresses),
		SANs:       in.SubjectAltNames,
	}
	if len(base.Selector) > 0 && len(in.Endpoints) > 0 {
		r.say(spec.At("endpoints"), verdict.Invalid, "endpoints do not go with workloadSelector: the selector acts")
	} else {
		e.Endpoints = r.entryEndpoints(spec, in, e.Resolution, o)
	}
	for i, host := range in.Hosts {
		at := spec.At(index("hosts", i))
		host = strings.ToLower(host)
		switch {
		case host == "*" || !validHost(host):
			r.say(at, verdict.Invalid, "%q is neither a host nor a wildcard of the form *.suffix", host)
			continue
		case strings.HasPrefix(host, "*") && e.Resolution.ByDNS() && len(e.Endpoints)+len(base.Selector) == 0:
			r.say(at, verdict.Invalid, "DNS does not know the wildcard %s: it needs endpoints, or resolution NONE", host)
			continue
		}
		s, own := base, e
		own.Host = host
		own.AutoAddress = len(e.Addresses) == 0 && e.Resolution != registry.ByDialled && !strings.HasPrefix(host, "*") &&
			o.Meta.Labels[autoAllocateLabel] != "false"
		s.Name, s.Entry = host, &own
		r.cfg.Services = append(r.cfg.Services, s)
	}
}

func (r *reader) entryPort(at verdict.Origin, in *networking.ServicePort) (registry.ServicePort, bool) {
	if in.Number < 1 || in.Number > 65535 || in.TargetPort > 65535 {
		r.say(at, verdict.Invalid, "the port is out of range")
		return registry.ServicePort{}, false
	}
	out := registry.ServicePort{Name: in.Name, Number: uint16(in.Number), TargetNumber: uint16(in.Number), Protocol: protocolNamed(in.Protocol)}
	if in.TargetPort != 0 {
		out.TargetNumber = uint16(in.TargetPort)
	}
	switch {
	case out.Protocol == registry.UDP:
		r.say(at, verdict.Unsupported, "UDP does not go through the mesh")
		return out, false
	case out.Protocol == registry.Auto && in.Protocol != "":
		r.say(at.At("protocol"), verdict.NotActedOn, "%q is not known; the protocol is told from the first bytes of each connection", in.Protocol)
	}
	return out, true
}

// protocolNamed reads the protocol of an Istio port; Auto where it is not known.
func protocolNamed(name string) registry.Protocol {
	if strings.EqualFold(name, "UDP") {
		return registry.UDP
	}
	p, _ := registry.ProtocolOf("TCP", name, "")
	return p
}

func (r *reader) resolution(at verdict.Origin, in networking.ServiceEntry_Resolution) registry.Resolution {
	switch in {
	case networking.ServiceEntry_STATIC:
		return registry.Static
	case networking.ServiceEntry_DNS:
		return registry.Names
	case networking.ServiceEntry_DNS_ROUND_ROBIN:
		return registry.OneName
	case networking.ServiceEntry_DYNAMIC_DNS:
		r.say(at, verdict.Unsupported, "names are not resolved for each connection: calls go where their client dialled, as with NONE")
	}
	return registry.ByDialled
}

func (r *reader) addresses(at verdict.Origin, in []string) []netip.Prefix {
	var out []netip.Prefix
	for i, text := range in {
		if a, err := netip.ParseAddr(text); err == nil {
			out = append(out, netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()))
		} else if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p.Masked())
		} else {
			r.say(at.At("["+strconv.Itoa(i)+"]"), verdict.Invalid, "%q is neither an address nor a range", text)
		}
	}
	return out
}

// entryEndpoints reads the endpoints that a ServiceEntry lists, as far as they go
// with its resolution.
func (r *reader) entryEndpoints(spec verdict.Origin, in *networking.ServiceEntry, res registry.Resolution, o *api.Object) []registry.EntryEndpoint {
	if res == registry.ByDialled {
		if len(in.Endpoints) > 0 {
			r.say(spec.At("endpoints"), verdict.NotActedOn, "with resolution NONE, calls go where their client dialled")
		}
		return nil
	}
	var out []registry.EntryEndpoint
	for i, e := range in.Endpoints {
		at := spec.At(index("endpoints", i))
		w, ok := r.outside(at, e)
		switch {
		case !ok:
		case w.DNSName != "" && !res.ByDNS():
			r.say(at.At("address"), verdict.Invalid, "%q is not an address, as resolution STATIC needs it", e.Address)
		case res == registry.OneName && len(out) == 1:
			r.say(at, verdict.Invalid, "resolution DNS_ROUND_ROBIN takes one endpoint")
		default:
			w.Name, w.Namespace = o.Meta.Name, o.Meta.Namespace
			out = append(out, registry.EntryEndpoint{Name: w.DNSName, Workload: w})
		}
	}
	return out
}

// outside reads what a WorkloadEntry says, or an endpoint of a ServiceEntry.
func (r *reader) outside(at verdict.Origin, in *networking.WorkloadEntry) (registry.Workload, bool) {
	w := registry.Workload{
		Labels: in.Labels, ServiceAccount: in.ServiceAccount, Weight: in.Weight, Ready: true, Outside: true,
		Proxied: in.Labels[tlsModeLabel] == "istio",
	}
	a, err := netip.ParseAddr(in.Address)
	switch {
	case err == nil:
		w.Addr = a.Unmap()
	case strings.HasPrefix(in.Address, "unix://"):
		r.say(at.At("address"), verdict.Unsupported, "sockets of the file system are not called")
		return w, false
	case strings.HasPrefix(in.Address, "*") || !validHost(strings.ToLower(in.Address)):
		r.say(at.At("address"), verdict.Invalid, "%q is neither an address nor a name", in.Address)
		return w, false
	default:
		w.DNSName = strings.ToLower(in.Address)
	}
	for _, name := range slices.Sorted(maps.Keys(in.Ports)) {
		n := in.Ports[name]
		if n < 1 || n > 65535 {
			r.say(at.At("ports"), verdict.Invalid, "the port %d is out of range", n)
			continue
		}
		w.Ports = append(w.Ports, registry.Port{Name: name, Number: uint16(n)})
	}
	place := in.Locality
	if place == "" {
		place = strings.ReplaceAll(in.Labels[localityLabel], ".", "/")
	}
	parts := strings.SplitN(place+"//", "/", 3)
	w.Locality = registry.Locality{Region: parts[0], Zone: parts[1], Subzone: strings.Trim(parts[2], "/")}
	return w, true
}

// workloadEntry makes a workload that selectors find.
func (r *reader) workloadEntry(o *api.Object, meta mesh.Meta, in *networking.WorkloadEntry) {
	w, ok := r.outside(meta.Origin.At("spec"), in)
	if !ok {
		return
	}
	w.Name, w.Namespace, w.Owner, w.OwnerKind = o.Meta.Name, o.Meta.Namespace, o.Meta.Name, o.Kind.Name
	labels := map[string]string{}
	for k, v := range o.Meta.Labels {
		labels[k] = v
	}
	for k, v := range in.Labels {
		labels[k] = v
	}
	w.Labels, w.Annotations = labels, o.Meta.Annotations
	r.cfg.Entries = append(r.cfg.Entries, mesh.WorkloadEntry{Meta: meta, Workload: w})
}
