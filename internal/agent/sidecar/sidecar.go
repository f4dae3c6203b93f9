package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/lateen-mesh/lateen/internal/agent/life"
	"github.com/lateen-mesh/lateen/internal/agent/pod"
	"github.com/lateen-mesh/lateen/internal/agent/uplink"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/spiffe"
	"github.com/lateen-mesh/lateen/internal/xds/client/cache"
)

// Options configure a Sidecar. Settings is required.
type Options struct {
	Settings *pod.Settings
	// Environ are the process's variables, "NAME=VALUE".
	Environ []string
	Plane   pod.DataPlane
	Log     *slog.Logger
	// Quit ends the process, as a signal does; it returns at once.
	Quit func()
}

// Sidecar is the surroundings of one proxy. Its exported fields do not change.
type Sidecar struct {
	Settings *pod.Settings
	Identity *identity.Identity
	Life     *life.Life
	// Conn leads to the control plane's xDS, Token gives what says there who asks; nil:
	// the connection itself does.
	Conn  *grpc.ClientConn
	Token func() (string, error)

	o       Options
	log     *slog.Logger
	ca      *grpc.ClientConn // Conn, or one of its own
	names   *names           // nil: questions are not redirected
	opened  []listening
	started time.Time

	mu      sync.Mutex
	node    *corev3.Node         // guarded by mu: as the pod is now
	onNode  []func(*corev3.Node) // guarded by mu
	readyAt time.Time            // guarded by mu: first time
}

// New connects nothing yet: it makes the parts and checks the settings.
func New(o Options) (*Sidecar, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	set := o.Settings
	s := &Sidecar{Settings: set, o: o, log: ops.Scope(o.Log, "pod"), started: time.Now()}
	if len(set.Ignored) > 0 {
		s.log.Warn("settings in PROXY_CONFIG that nothing acts on", "fields", set.Ignored)
	}
	var err error
	if s.node, err = set.Node(o.Environ, o.Plane); err != nil {
		return nil, err
	}
	if err := s.connect(); err != nil {
		return nil, err
	}
	if s.Identity, err = s.newIdentity(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.Life = life.New(life.Options{
		Termination: set.Drain.Termination, UntilIdle: set.Drain.UntilIdle, Minimum: set.Drain.Minimum, Log: ops.Scope(o.Log, "life"),
	})
	if set.DNS {
		s.names = newNames(set.Namespace, ops.Scope(o.Log, "dns"))
	}
	return s, nil
}

// connect makes the connections to the control plane: one, unless the authority has
// an address of its own.
func (s *Sidecar) connect() error {
	set := s.Settings
	o := uplink.Options{Address: set.Discovery, ServerName: set.ServerName, Roots: uplink.NewRoots(set.RootFile)}
	if set.ProvidedCerts != "" {
		o.Certificate = uplink.Certificate(set.ProvidedCerts)
	} else {
		s.Token = uplink.Token(set.TokenFile)
	}
	var err error
	if s.Conn, err = uplink.Dial(o); err != nil {
		return err
	}
	s.ca = s.Conn
	if set.CA != set.Discovery {
		o.Address = set.CA
		if s.ca, err = uplink.Dial(o); err != nil {
			return errors.Join(err, s.Conn.Close())
		}
	}
	return nil
}

func (s *Sidecar) newIdentity() (*identity.Identity, error) {
	set := s.Settings
	id, err := spiffe.New(set.TrustDomain, set.Namespace, set.ServiceAccount)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	o := identity.Options{ID: id, Issuer: identity.NewIssuerFor(s.ca, s.Token, set.CertLifetime), Grace: set.CertGrace, Log: ops.Scope(s.o.Log, "identity")}
	if set.KeepKey {
		keep, err := identity.NewMemory(set.MemoryDir)
		if err != nil {
			// A pod without that volume: it starts without a certificate, as on the first
			// time.
			s.log.Info("the certificate is not kept for a start of the container alone", "why", err)
		} else {
			o.Keep = keep
		}
	}
	return identity.New(o), nil
}

// Node is what the proxy tells of itself. It must not be changed.
func (s *Sidecar) Node() *corev3.Node {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.node
}

// OnNode calls f whenever the pod's labels or annotations have changed.
func (s *Sidecar) OnNode(f func(*corev3.Node)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onNode = append(s.onNode, f)
}

// Store makes the place of the kept configuration. private are the types of resources
// that hold keys; good tells whether what came is in force.
func (s *Sidecar) Store(private []string, good func() bool) *cache.Store {
	o := cache.Options{
		Dir: s.Settings.DataDir, Private: private, Node: s.Node().GetId() + "~" + string(s.o.Plane), Good: good, Log: ops.Scope(s.o.Log, "cache"),
	}
	if s.Settings.KeepKey {
		if _, err := identity.NewMemory(s.Settings.MemoryDir); err == nil {
			o.PrivateDir = s.Settings.MemoryDir
		}
	}
	return cache.New(o)
}

// Run keeps the sidecar going until ctx ends: certificate, pages, names, and what
// changes in the pod.
func (s *Sidecar) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	part := func(f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				stop(err)
			}
		})
	}
	part(s.Identity.Run)
	for _, l := range s.opened {
		part(l.serve)
	}
	if s.names != nil {
		part(s.names.run)
	}
	wg.Go(func() { s.watchNode(ctx) })
	wg.Go(func() { s.watchRoots(ctx) })
	if s.Settings.OutputCerts != "" {
		wg.Go(func() { s.writeCertificates(ctx) })
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Close closes the connections.
func (s *Sidecar) Close() error {
	err := s.Conn.Close()
	if s.ca != s.Conn {
		err = errors.Join(err, s.ca.Close())
	}
	for _, l := range s.opened {
		_ = l.listener.Close() // closed by its server already, mostly
	}
	if s.names != nil {
		s.names.close()
	}
	return err
}

// look is how often files of the pod are looked at; kubelet takes up to a minute to
// write them.
const look = 5 * time.Second

func (s *Sidecar) watchNode(ctx context.Context) {
	pod.Watch(ctx, look, func() {
		n, err := s.Settings.Node(s.o.Environ, s.o.Plane)
		if err != nil {
			s.log.Warn("the pod's labels are not read again", "err", err)
			return
		}
		s.mu.Lock()
		s.node = n
		tell := s.onNode
		s.mu.Unlock()
		s.log.Info("the pod's labels or annotations have changed")
		for _, f := range tell {
			f(n)
		}
	}, s.Settings.LabelsFile, s.Settings.AnnotationsFile)
}

// watchRoots asks for a new certificate when the mesh's roots change: the answer
// brings the new roots for peers too. Connections to the control plane see the file
// by themselves.
func (s *Sidecar) watchRoots(ctx context.Context) {
	if s.Settings.RootFile == "" {
		return
	}
	pod.Watch(ctx, look, func() {
		s.log.Info("the mesh's roots have changed: the certificate is renewed")
		s.Identity.Refresh()
	}, s.Settings.RootFile)
}

// writeCertificates writes the certificate to OUTPUT_CERTS at each renewal.
func (s *Sidecar) writeCertificates(ctx context.Context) {
	for {
		renewed := s.Identity.Changed()
		if chain, key, roots, ok := s.Identity.PEM(); ok {
			if err := uplink.WriteCertificate(s.Settings.OutputCerts, chain, key, roots); err != nil {
				s.log.Error("certificate not written to OUTPUT_CERTS", "err", err)
			}
		}
		select {
		case <-renewed:
		case <-ctx.Done():
			return
		}
	}
}
