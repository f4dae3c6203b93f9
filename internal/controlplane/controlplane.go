// Package controlplane wires the control side of the mesh, and reads as the
// pipeline it is: the store's objects and the workloads go into the push engine,
// which runs the pure stages; the xDS server brings the result to the proxies;
// the certificate authority gives them their identities.
//
// Core is what a control plane is wherever it lives. This package makes it a mesh
// on one machine: the objects are a store's, and two sockets serve people, one the
// configuration, one the state of the mesh. Package cluster makes it the control
// plane of a mesh on Kubernetes.
package controlplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/push"
	"github.com/lateen-mesh/lateen/internal/registry"
	"github.com/lateen-mesh/lateen/internal/store"
)

// Names of the sockets in the runtime directory.
const (
	XDSSocket    = "xds.sock"
	ConfigSocket = configapi.SocketName
	MeshSocket   = meshapi.SocketName
	// ConsoleSocket serves the console to whoever brings people there: `lateen up`
	// relays a port of the machine to it.
	ConsoleSocket = "console.sock"
)

// Config says what a control plane runs on. Store, StateDir and RuntimeDir are
// required; the directories are made with mode 0700 if they do not exist.
type Config struct {
	Store       *store.Store
	StateDir    string // holds the certificate authority below ca/
	RuntimeDir  string // holds the sockets
	TrustDomain string // default cluster.local
	// ServiceCIDR is where services without an address get one; default
	// 10.96.0.0/16.
	ServiceCIDR netip.Prefix
	// CertificateLifetime of workloads; default 24 h.
	CertificateLifetime time.Duration
	// PlainAddr serves xDS without authentication at a loopback address, for
	// tools and grpc clients ("127.0.0.1:15010"): everything but secrets. Nobody
	// waits for these clients. Empty: not.
	PlainAddr string
	// DebugAddr serves /debug, /metrics, /ready and /version over HTTP ("127.0.0.1:
	// 15014"), besides the mesh socket; empty: not.
	DebugAddr string
	// Name is the mesh's, for people.
	Name string
	// ReadOnlyConsole refuses all changes that come through the console.
	ReadOnlyConsole bool
	// Version is what /version answers.
	Version string
	Log     *slog.Logger     // nil: silent
	Now     func() time.Time // nil: time.Now
}

// ControlPlane is a running or startable control plane of a mesh on one machine.
// Its methods are safe for concurrent use.
type ControlPlane struct {
	*Core
	cfg       Config
	authority *ca.Authority
	tokens    *ca.Tokens

	xds, config, mesh, console net.Listener
	plain, debug               net.Listener // nil where not asked for
}

// New opens the certificate authority and the sockets; Run serves them. From then
// on clients can connect; they are answered when Run runs.
func New(cfg Config) (*ControlPlane, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Store == nil || cfg.StateDir == "" || cfg.RuntimeDir == "" {
		return nil, errors.New("control plane: store, state directory and runtime directory are required")
	}
	cp := &ControlPlane{cfg: cfg}
	caDir := filepath.Join(cfg.StateDir, "ca")
	var err error
	if cp.authority, err = ca.Open(ca.Options{Dir: caDir, TrustDomain: cfg.TrustDomain, Lifetime: cfg.CertificateLifetime, Now: cfg.Now}); err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	if cp.tokens, err = ca.OpenTokens(caDir, cfg.Now); err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	cp.Core, err = NewCore(CoreOptions{
		Push:    push.Options{Objects: cfg.Store, Memory: cfg.Store, TrustDomain: cp.authority.TrustDomain(), Services: cfg.ServiceCIDR},
		Version: cfg.Version, Log: cfg.Log, Now: cfg.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("control plane: %w", err)
	}
	if err := cp.listen(); err != nil {
		return nil, fmt.Errorf("control plane: %w", errors.Join(err, cp.Close()))
	}
	return cp, nil
}

func (cp *ControlPlane) listen() (err error) {
	if err := os.MkdirAll(cp.cfg.RuntimeDir, 0o700); err != nil {
		return err
	}
	for _, s := range []struct {
		name string
		to   *net.Listener
	}{{XDSSocket, &cp.xds}, {ConfigSocket, &cp.config}, {MeshSocket, &cp.mesh}, {ConsoleSocket, &cp.console}} {
		if *s.to, err = configapi.Listen(filepath.Join(cp.cfg.RuntimeDir, s.name)); err != nil {
			return err
		}
	}
	if cp.plain, err = listenLoopback(cp.cfg.PlainAddr); err != nil {
		return fmt.Errorf("plain xDS: %w", err)
	}
	if cp.debug, err = listenLoopback(cp.cfg.DebugAddr); err != nil {
		return fmt.Errorf("debug endpoints: %w", err)
	}
	return nil
}

// listenLoopback refuses other addresses: nobody is authenticated there.
func listenLoopback(addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	if !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("%s is not a loopback address, and callers are not authenticated there", addr)
	}
	return net.Listen("tcp", addr)
}

// Close closes the sockets of a control plane that does not run.
func (cp *ControlPlane) Close() error {
	var errs []error
	for _, l := range []net.Listener{cp.xds, cp.config, cp.mesh, cp.console, cp.plain, cp.debug} {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// Run serves until ctx ends or a part fails.
func (cp *ControlPlane) Run(ctx context.Context) error {
	config := configapi.NewHandler(configapi.Deps{
		Store: cp.cfg.Store, Statuses: cp, Progress: progress{cp.engine}, Files: cp.cfg.Store.Files,
		Log: cp.cfg.Log.With("scope", "configapi"),
	})
	console := cp.Console(ConsoleOptions{Config: config, Roots: cp.Roots, Home: "machine", Name: cp.cfg.Name, ReadOnly: cp.cfg.ReadOnlyConsole})
	parts := []func(context.Context) error{
		cp.engine.Run,
		cp.RunHistory,
		cp.serveGRPC(cp.xds, true),
		ServeHTTP(cp.config, config),
		ServeHTTP(cp.mesh, cp.meshHandler(console)),
		ServeHTTP(cp.console, console),
	}
	if cp.plain != nil {
		parts = append(parts, cp.serveGRPC(cp.plain, false))
	}
	if cp.debug != nil {
		parts = append(parts, ServeHTTP(cp.debug, cp.Handler()))
	}
	return RunParts(ctx, parts...)
}

// Tokens issues the tokens by which workloads prove who they are.
func (cp *ControlPlane) Tokens() *ca.Tokens { return cp.tokens }

// Roots is the PEM of the roots that the mesh trusts.
func (cp *ControlPlane) Roots() []byte { return cp.authority.Roots() }

// SetWorkloads tells all workloads that there are, each time the whole list.
// Proxies get nothing before the first call.
func (cp *ControlPlane) SetWorkloads(list []registry.Workload) { cp.engine.SetWorkloads(list) }

// PlainXDS is the address of unauthenticated xDS; "" where it is not served.
func (cp *ControlPlane) PlainXDS() string { return address(cp.plain) }

// DebugAddr is the address of the debug endpoints; "" where they are not served.
func (cp *ControlPlane) DebugAddr() string { return address(cp.debug) }

func address(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}
