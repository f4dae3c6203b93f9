package validate

import (
	"cmp"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// Limits of the custom resource definitions.
const (
	maxHosts        = 256
	maxAddresses    = 256
	maxEndpoints    = 4096
	maxPorts        = 256
	maxEntryPorts   = 128
	longestAddress  = 256
	longestLocality = 2048
)

// protocols are the words that ports of services may declare.
var protocols = []string{"HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "MYSQL", "REDIS", "UDP", "HTTP_PROXY", "HBONE"}

func (c *checker) serviceEntry(se *networking.ServiceEntry) {
	if len(se.Hosts) == 0 {
		c.fail("spec.hosts", "at least one host is required")
	}
	if len(se.Hosts) > maxHosts {
		c.fail("spec.hosts", "%d hosts are more than %d", len(se.Hosts), maxHosts)
	}
	for i, h := range se.Hosts {
		p := at("spec.hosts", i)
		if h == "*" {
			c.fail(p, "\"*\" is not allowed: it would take every name")
			continue
		}
		c.host(p, h, true)
	}
	c.visibility("spec.exportTo", se.ExportTo)
	if se.WorkloadSelector != nil && len(se.Endpoints) > 0 {
		c.fail("spec.workloadSelector", "only one of workloadSelector and endpoints can be set")
	}
	c.workloadSelector("spec.workloadSelector", se.WorkloadSelector)
	c.entryAddresses(se)
	names := c.entryPorts(se)
	c.entryEndpoints(se, names)
}

func (c *checker) entryAddresses(se *networking.ServiceEntry) {
	if n := len(se.Addresses); n > maxAddresses {
		c.fail("spec.addresses", "%d addresses are more than %d", n, maxAddresses)
	}
	ranges := se.Resolution == networking.ServiceEntry_NONE || se.Resolution == networking.ServiceEntry_STATIC
	for i, a := range se.Addresses {
		p := at("spec.addresses", i)
		if c.subnet(p, a); strings.Contains(a, "/") && !ranges {
			if prefix, err := netip.ParsePrefix(a); err == nil && !prefix.IsSingleIP() || err != nil {
				c.fail(p, "a range of addresses is only allowed with the resolutions NONE and STATIC")
			}
		}
	}
}

// entryPorts checks the ports and returns their names.
func (c *checker) entryPorts(se *networking.ServiceEntry) map[string]bool {
	names, numbers := map[string]bool{}, map[uint32]bool{}
	switch n := len(se.Ports); {
	case n == 0:
		c.warn("spec.ports", "without ports nothing can be called")
	case n > maxPorts:
		c.fail("spec.ports", "%d ports are more than %d", n, maxPorts)
	}
	for i, port := range se.Ports {
		p := at("spec.ports", i)
		c.port(p+".number", int64(port.Number))
		switch {
		case numbers[port.Number]:
			c.fail(p+".number", "the port %d is listed twice", port.Number)
		case port.Name == "":
			c.fail(p+".name", "a port needs a name")
		case names[port.Name]:
			c.fail(p+".name", "the port name %q is used twice", port.Name)
		case !isLabel(strings.ToLower(port.Name)):
			c.fail(p+".name", "%q is not a valid port name; use %s", port.Name, labelRule)
		}
		names[port.Name], numbers[port.Number] = true, true
		if port.Protocol != "" && !slices.Contains(protocols, strings.ToUpper(port.Protocol)) {
			c.fail(p+".protocol", "%q is not a protocol; use one of %s", port.Protocol, oneOf(protocols...))
		}
		if port.TargetPort != 0 {
			c.port(p+".targetPort", int64(port.TargetPort))
			if se.Resolution == networking.ServiceEntry_NONE {
				c.warn(p+".targetPort", "with the resolution NONE connections go to the port that was called; targetPort has no effect")
			}
		}
	}
	return names
}

func (c *checker) entryEndpoints(se *networking.ServiceEntry, ports map[string]bool) {
	if n := len(se.Endpoints); n > maxEndpoints {
		c.fail("spec.endpoints", "%d endpoints are more than %d", n, maxEndpoints)
	}
	sockets := 0
	for i, e := range se.Endpoints {
		p := at("spec.endpoints", i)
		c.workloadEntry(p, e, true)
		if strings.HasPrefix(e.Address, "unix://") {
			sockets++
		}
		for _, name := range slices.Sorted(maps.Keys(e.Ports)) {
			if !ports[name] {
				c.fail(key(p+".ports", name), "the service has no port of the name %q", name)
			}
		}
	}
	if sockets > 0 && len(se.Ports) != 1 {
		c.fail("spec.ports", "endpoints that are Unix sockets need a service with exactly one port")
	}
	switch se.Resolution {
	case networking.ServiceEntry_NONE:
		if len(se.Endpoints) > 0 {
			c.fail("spec.endpoints", "with the resolution NONE connections go to the address that was called; there can be no endpoints")
		}
	case networking.ServiceEntry_STATIC:
		if len(se.Endpoints) == 0 && se.WorkloadSelector == nil {
			c.fail("spec.endpoints", "the resolution STATIC needs endpoints or a workloadSelector")
		}
		for i, e := range se.Endpoints {
			if a := e.Address; a != "" && !isIP(a) && !strings.HasPrefix(a, "unix://") {
				c.fail(at("spec.endpoints", i)+".address", "with the resolution STATIC %q must be an IP address or a Unix socket", a)
			}
		}
	case networking.ServiceEntry_DNS, networking.ServiceEntry_DNS_ROUND_ROBIN:
		c.resolved(se)
	case networking.ServiceEntry_DYNAMIC_DNS:
		c.dynamic(se)
	}
}

// resolved checks an entry whose endpoints are found by DNS.
func (c *checker) resolved(se *networking.ServiceEntry) {
	if se.Resolution == networking.ServiceEntry_DNS_ROUND_ROBIN && len(se.Endpoints) > 1 {
		c.fail("spec.endpoints", "the resolution DNS_ROUND_ROBIN takes one endpoint at most")
	}
	for i, h := range se.Hosts {
		if len(se.Endpoints) == 0 && se.WorkloadSelector == nil && strings.HasPrefix(h, "*") {
			c.fail(at("spec.hosts", i), "the wildcard %q cannot be asked for in DNS; give endpoints, or the resolution NONE", h)
		}
	}
	for i, e := range se.Endpoints {
		if strings.HasPrefix(e.Address, "unix://") {
			c.fail(at("spec.endpoints", i)+".address", "a Unix socket cannot be asked for in DNS; use the resolution STATIC")
		}
	}
}

// dynamic checks an entry whose hosts are asked for when they are called.
func (c *checker) dynamic(se *networking.ServiceEntry) {
	for i, h := range se.Hosts {
		if !strings.HasPrefix(h, "*.") {
			c.fail(at("spec.hosts", i), "the resolution DYNAMIC_DNS is for wildcards such as \"*.example.com\"; use DNS for %q", h)
		}
	}
	if len(se.Endpoints) > 0 || se.WorkloadSelector != nil {
		c.fail("spec.endpoints", "with the resolution DYNAMIC_DNS the name that was called is asked for; there can be neither endpoints nor a workloadSelector")
	}
	if se.Location != networking.ServiceEntry_MESH_EXTERNAL {
		c.fail("spec.location", "the resolution DYNAMIC_DNS is for hosts outside the mesh (MESH_EXTERNAL)")
	}
	for i, p := range se.Ports {
		switch strings.ToUpper(p.Protocol) {
		case "HTTP", "HTTP2", "GRPC", "HTTPS", "TLS":
		default:
			c.fail(at("spec.ports", i)+".protocol", "the resolution DYNAMIC_DNS needs a protocol that names its host: HTTP, HTTP2, GRPC, HTTPS or TLS, not %s", cmp.Or(p.Protocol, "none"))
		}
	}
}

// visibility is exportTo for kinds that "~", nobody, is allowed for.
func (c *checker) visibility(path string, list []string) {
	if i := slices.Index(list, "~"); i >= 0 {
		if len(list) > 1 {
			c.fail(at(path, i), "\"~\" exports to nobody; it cannot stand beside others")
		}
		return
	}
	c.exportTo(path, list)
}

var portName = regexp.MustCompile(`^[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?$`)

// workloadEntry checks a WorkloadEntry, an endpoint of a ServiceEntry or, with an
// address that may be missing, the template of a WorkloadGroup.
func (c *checker) workloadEntry(path string, e *networking.WorkloadEntry, required bool) {
	address := path + ".address"
	socket, isSocket := strings.CutPrefix(e.Address, "unix://")
	switch {
	case e.Address == "" && e.Network == "" && required:
		c.fail(address, "an address is required")
	case e.Address == "":
	case len(e.Address) > longestAddress:
		c.fail(address, "the address is longer than %d bytes", longestAddress)
	case isSocket:
		if !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") || strings.HasSuffix(socket, "/") {
			c.fail(address, "%q is neither the absolute path of a Unix socket nor an abstract one (@name)", e.Address)
		}
		if len(e.Ports) > 0 {
			c.fail(path+".ports", "a Unix socket has no ports")
		}
	case !isIP(e.Address):
		c.host(address, e.Address, false)
	}
	if n := len(e.Ports); n > maxEntryPorts {
		c.fail(path+".ports", "%d ports are more than %d", n, maxEntryPorts)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Ports)) {
		p := key(path+".ports", name)
		if len(name) > 62 || !portName.MatchString(name) {
			c.fail(p, "%q is not a valid port name", name)
		}
		c.port(p, int64(e.Ports[name]))
	}
	c.labels(path+".labels", e.Labels)
	if len(e.Locality) > longestLocality || strings.Count(e.Locality, "/") > 2 {
		c.fail(path+".locality", "%q is not of the form region/zone/subzone", e.Locality)
	}
	if e.ServiceAccount != "" && !isSubdomain(e.ServiceAccount) {
		c.fail(path+".serviceAccount", "%q is not the name of a service account", e.ServiceAccount)
	}
}
