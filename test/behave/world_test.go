package behave

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"path"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/intercept"
)

// Addresses of a bed. Whatever is not a pod's belongs to the world.
var (
	gatewayAddr = netip.MustParseAddr("10.244.0.1")
	podRange    = netip.MustParsePrefix("10.244.0.0/24")
)

// world is the namespace around the pods: it has every address, and servers at
// those that a case names.
type world struct {
	ns    *intercept.Namespace
	links int

	mu      sync.Mutex
	servers map[string]*server // guarded by mu, by workload
	records []*record          // guarded by mu: what servers saw, in order
}

// record is one request that a server saw.
type record struct {
	Workload string              `json:"workload"`
	Method   string              `json:"method"`
	Path     string              `json:"path"` // as it was on the wire, with the query
	Host     string              `json:"host"`
	Proto    string              `json:"proto"` // "HTTP/1.1"
	Headers  map[string][]string `json:"headers"`
	Size     int                 `json:"size"` // of the body
	Trailers map[string][]string `json:"trailers,omitempty"`
	Conn     string              `json:"conn"`           // the connection's other end
	TLS      string              `json:"tls,omitempty"`  // the server name of the handshake
	Peer     string              `json:"peer,omitempty"` // the client's SPIFFE name
	Port     uint16              `json:"port"`
	at       time.Time
}

func newWorld() (*world, error) {
	ns, err := intercept.NewNamespace()
	if err != nil {
		return nil, err
	}
	w := &world{ns: ns, servers: map[string]*server{}}
	err = ns.Do(func() error {
		if err := intercept.AddBridge("lateen0", netip.PrefixFrom(gatewayAddr, podRange.Bits())); err != nil {
			return err
		}
		return everyAddress()
	})
	return w, err
}

// everyAddress makes all addresses but those with a route of their own local.
func everyAddress() error {
	h, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return err
	}
	all := &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}
	return h.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: all, Table: unix.RT_TABLE_MAIN, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST})
}

// pod makes a namespace with an address in the world. Redirected ones send their
// traffic to their proxy.
func (w *world) pod(addr netip.Addr, redirected bool) (*intercept.Namespace, error) {
	ns, err := intercept.NewNamespace()
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.links++
	link := fmt.Sprint("pod", w.links)
	w.mu.Unlock()
	if err := w.ns.Do(func() error { return intercept.AddVeth(link, "lateen0", "eth0", ns) }); err != nil {
		return nil, err
	}
	return ns, ns.Do(func() error {
		if err := intercept.Address("eth0", netip.PrefixFrom(addr, podRange.Bits()), gatewayAddr); err != nil {
			return err
		}
		if err := intercept.AllowLowPorts(); err != nil || !redirected {
			return err
		}
		return intercept.Apply(intercept.Rules(intercept.Options{Local: addr, NoDNS: true}))
	})
}

// mark is the number of records so far.
func (w *world) mark() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.records)
}

// since gives the records after a mark.
func (w *world) since(mark int) []*record {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*record(nil), w.records[mark:]...)
}

func (w *world) add(r *record) {
	r.at = time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.records = append(w.records, r)
}

// start runs the servers of a case.
func (w *world) start(b *bed, list []workload) error {
	w.reset()
	for i := range list {
		if err := w.startOne(b, &list[i]); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) startOne(b *bed, x *workload) error {
	conf, err := b.serverTLS(x)
	if err != nil {
		return err
	}
	s := newServer(w, x.name, text(x.first), conf)
	w.name(s)
	for _, p := range x.ports {
		if err := s.listen(w.ns, netip.AddrPortFrom(x.addr, p)); err != nil {
			return fmt.Errorf("workload %s: %w", x.name, err)
		}
	}
	return nil
}

// serverTLS is how a workload answers a handshake: with its identity of the mesh.
func (b *bed) serverTLS(x *workload) (*tls.Config, error) {
	cert, err := b.certificate(x.namespace, x.account)
	if err != nil {
		return nil, err
	}
	conf := &tls.Config{Certificates: []tls.Certificate{*cert}, NextProtos: []string{"h2", "http/1.1", "istio-http/1.1", "istio-h2", "istio-peer-exchange", "istio"}}
	if x.mtls {
		conf.ClientAuth, conf.ClientCAs = tls.RequireAnyClientCert, b.roots()
	}
	return conf, nil
}

// reset stops the servers and forgets what they saw.
func (w *world) reset() {
	w.mu.Lock()
	old := w.servers
	w.servers, w.records = map[string]*server{}, nil
	w.mu.Unlock()
	for _, s := range old {
		s.stop()
	}
}

func (w *world) close() {
	w.reset()
	w.ns.Close()
}

// matching finds servers by a pattern of their names.
func (w *world) matching(pattern string) (list []*server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for name, s := range w.servers {
		if ok, _ := path.Match(pattern, name); ok {
			list = append(list, s)
		}
	}
	return list
}

// name lets scripts find a server.
func (w *world) name(s *server) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[s.name] = s
}
