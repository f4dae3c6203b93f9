package behave

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/api/validate"
	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/controlplane"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/spiffe"
	"github.com/lateen-mesh/lateen/internal/store"
	"github.com/lateen-mesh/lateen/internal/verdict"
	xds "github.com/lateen-mesh/lateen/internal/xds/server"
)

var nullLog = log.New(io.Discard, "", 0)

// bed is all that one data plane's cases run on: a control plane, a world, and the
// proxies under test. Cases use it one after the other.
type bed struct {
	plane string // ours or envoy
	dir   string
	world *world
	store *store.Store
	core  *controlplane.Core
	ca    *ca.Authority
	token *ca.Tokens
	xds   string // target
	stop  func()
	cells []*cell // the most recently used one last
	pods  int

	workloads []registry.Workload // of the case, without the proxies under test
	files     map[string][]verdict.Ref
	applied   []verdict.Ref
	issued    map[spiffe.ID]*tls.Certificate
}

// newBed starts everything but proxies.
func newBed(plane string) (*bed, error) {
	dir, err := os.MkdirTemp("", "behave") // short: sockets lie in it
	if err != nil {
		return nil, err
	}
	b := &bed{plane: plane, dir: dir, xds: "unix://" + filepath.Join(dir, "xds"), issued: map[spiffe.ID]*tls.Certificate{}}
	if b.world, err = newWorld(); err != nil {
		return nil, fmt.Errorf("namespaces: %w", err)
	}
	if b.store, err = store.Open(filepath.Join(dir, "config"), store.Options{Validate: validate.Error}); err != nil {
		return nil, err
	}
	if b.ca, err = ca.Open(ca.Options{Dir: filepath.Join(dir, "ca")}); err != nil {
		return nil, err
	}
	if b.token, err = ca.OpenTokens(filepath.Join(dir, "ca"), nil); err != nil {
		return nil, err
	}
	b.core, err = controlplane.NewCore(controlplane.CoreOptions{Push: push.Options{
		Objects: b.store, Memory: b.store, Quiet: 3 * time.Millisecond, Longest: 50 * time.Millisecond,
	}})
	if err != nil {
		return nil, err
	}
	return b, b.serve()
}

// serve runs the engine and its servers until stop.
func (b *bed) serve() error {
	l, err := net.Listen("unix", strings.TrimPrefix(b.xds, "unix://"))
	if err != nil {
		return err
	}
	g := grpc.NewServer(xds.GRPCOptions()...)
	ca.NewService(b.ca, b.token, nil, slog.New(slog.DiscardHandler)).Register(g)
	b.core.XDS(auth{b.token}).Register(g)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = g.Serve(l) })
	wg.Go(func() { _ = b.core.Engine().Run(ctx) })
	b.stop = func() {
		for _, c := range b.cells {
			c.stop()
		}
		cancel()
		g.Stop()
		wg.Wait()
		b.world.close()
		b.store.Close()
		os.RemoveAll(b.dir)
	}
	return nil
}

type auth struct{ tokens *ca.Tokens }

func (a auth) Authenticate(ctx context.Context) (xds.Identity, error) {
	w, err := a.tokens.Authenticate(ctx)
	return xds.Identity(w), err
}

// begin brings a case into force: its servers, its workloads, its proxy and its
// objects, and nothing of the case before.
func (b *bed) begin(r *run) error {
	b.files, b.applied = map[string][]verdict.Ref{}, nil
	if err := b.world.start(b, r.c.workloads); err != nil {
		return err
	}
	b.workloads = nil
	for i := range r.c.workloads {
		if w := &r.c.workloads[i]; !w.outside {
			b.workloads = append(b.workloads, w.registered())
		}
	}
	cell, err := b.cell(r.c)
	if err != nil {
		return err
	}
	r.cell = cell
	b.tell()
	for _, name := range []string{"base.yaml", "config.yaml"} {
		if text, ok := r.c.files[name]; ok {
			if _, err := b.apply(name, text); err != nil {
				return err
			}
		}
	}
	return b.inForce(cell)
}

// end takes a case's configuration away, so that no state of its clusters is left.
func (b *bed) end() {
	b.world.reset()
	b.workloads = nil
	b.tell()
	objects, _ := b.store.Snapshot()
	var refs []verdict.Ref
	for _, o := range objects {
		refs = append(refs, o.Ref())
	}
	_, _ = b.store.Delete(refs)
	for _, c := range slices.Clone(b.cells) {
		if err := b.inForce(c); err != nil || b.plane == ours {
			b.drop(c) // a new one has nothing of the old
		}
	}
}

// registered is what the control plane hears of a workload.
func (w *workload) registered() registry.Workload {
	out := registry.Workload{
		Name: w.name, Namespace: w.namespace, Owner: w.name, OwnerKind: "Deployment", ServiceAccount: w.account, Labels: w.labels,
		Addr: w.addr, Ready: !w.unready, Proxied: w.mtls, Locality: w.locality, Node: "node-" + w.name,
	}
	for _, p := range w.ports {
		out.Ports = append(out.Ports, registry.Port{Name: fmt.Sprint("p", p), Number: p, Protocol: "TCP"})
	}
	return out
}

// tell gives the control plane all workloads.
func (b *bed) tell() {
	list := slices.Clone(b.workloads)
	for _, c := range b.cells {
		w := workload{nodeFacts: c.id, addr: c.addr, mtls: true, ports: defaultPorts}
		list = append(list, w.registered())
	}
	b.core.Engine().SetWorkloads(list)
}

// apply applies a text of objects; in the namespace default where they name none.
func (b *bed) apply(name, text string) (store.Result, error) {
	list, err := api.DecodeIn(strings.NewReader(text), name, "default")
	if err != nil {
		return store.Result{}, err
	}
	res, err := b.store.Apply(list)
	if err != nil {
		return res, err
	}
	b.files[name] = nil
	for _, o := range list {
		b.files[name] = append(b.files[name], o.Ref())
	}
	return res, nil
}

// inForce waits until a proxy acts by everything that was applied and told.
func (b *bed) inForce(c *cell) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, revision := b.store.Snapshot()
	reports, generation, err := b.core.Engine().Wait(ctx, revision)
	if err != nil {
		return err
	}
	for _, p := range reports {
		if p.Node != c.nodeID() {
			continue
		}
		for _, f := range p.Refusals {
			return fmt.Errorf("%s refuses %s %s: %s", b.plane, xds.ShortType(f.TypeURL), f.Name, f.Message)
		}
		if !p.Reached {
			return fmt.Errorf("%s is not at build %d in time: it waits for %s", b.plane, generation, p.Waiting)
		}
	}
	return c.warm(ctx)
}

// lookup finds the address of a name as the client's pod would.
func (b *bed) lookup(host, namespace string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a, nil
	}
	names, _ := b.core.Engine().Names()
	host = strings.TrimSuffix(host, ".")
	for _, full := range []string{host, host + "." + namespace + ".svc.cluster.local", host + ".svc.cluster.local", host + ".cluster.local"} {
		if list := names.Hosts[full]; len(list) > 0 {
			return list[0], nil
		}
	}
	return netip.Addr{}, fmt.Errorf("the mesh has no name %q", host)
}

// certificate issues a certificate of the mesh.
func (b *bed) certificate(namespace, account string) (*tls.Certificate, error) {
	id, err := spiffe.New(b.ca.TrustDomain(), namespace, account)
	if err != nil {
		return nil, err
	}
	if c := b.issued[id]; c != nil {
		return c, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, err
	}
	chain, err := b.ca.Sign(context.Background(), ca.Request{CSR: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr}), ID: id})
	if err != nil {
		return nil, err
	}
	out := &tls.Certificate{PrivateKey: key}
	for _, text := range chain {
		for p, rest := pem.Decode(text); p != nil; p, rest = pem.Decode(rest) {
			out.Certificate = append(out.Certificate, p.Bytes)
		}
	}
	b.issued[id] = out
	return out, nil
}

// roots are the mesh's.
func (b *bed) roots() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.ca.Roots())
	return pool
}

var errNoEnvoy = errors.New("there is no Envoy: set LATEEN_TEST_ENVOY, or let `make setup` install it")
