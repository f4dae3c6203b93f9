package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/agent/life"
	"github.com/lateen-mesh/lateen/internal/agent/sidecar"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/spiffe"
)

// Options configure an agent. EnvoyPath and RuntimeDir are required, and XDS, Token
// and Node unless there is a Pod.
type Options struct {
	// Pod gives everything that a pod's proxy has around it: identity, connection,
	// pages, names, and how it ends. XDS, Token, Node, TrustDomain, Metrics, Status,
	// AppMetrics and Drain are not used then.
	Pod       *sidecar.Sidecar
	EnvoyPath string
	// XDS is the control plane: "unix:///path" or "host:port", spoken to in plain
	// text.
	XDS string
	// Token gives the workload's bearer token; it is asked for anew for every
	// stream.
	Token func() (string, error)
	// Node names the proxy; LATEEN_DATA_PLANE is set to envoy in its metadata.
	Node *corev3.Node
	// TrustDomain of the workload's identity; "cluster.local" where empty.
	TrustDomain string
	// RuntimeDir holds the bootstrap and the sockets between agent and Envoy; made
	// with mode 0700. Its path must be short (Unix sockets).
	RuntimeDir string
	// Admin is the address of Envoy's admin interface, "127.0.0.1:15000" where
	// empty; it must be a loopback address or "unix:///path".
	Admin string
	// Metrics and Status are the addresses of /stats/prometheus and /healthz/ready;
	// "0.0.0.0:15020" and "0.0.0.0:15021" where empty, "-" serves none.
	Metrics, Status string
	// AppMetrics is the URL of the application's own metrics, which are served
	// behind Envoy's; empty: none.
	AppMetrics string
	// Concurrency is the number of Envoy's workers; 0 takes Istio's 2.
	Concurrency int
	// Drain is what open connections get after a request to stop; 0 takes 5 s.
	Drain time.Duration
	// Stdout and Stderr get Envoy's output: access log and log; nil discards it.
	Stdout, Stderr io.Writer
	Log            *slog.Logger // nil: silent
	// EnvoyLogLevel is Envoy's --log-level; "warning" where empty.
	EnvoyLogLevel string
}

func (o *Options) fill() error {
	if o.Pod != nil {
		o.XDS, o.Token, o.Node = o.Pod.Settings.Discovery, o.Pod.Token, o.Pod.Node()
		o.Drain = o.Pod.Settings.Drain.Termination
		if o.Token == nil {
			o.Token = func() (string, error) { return "", nil }
		}
	}
	switch {
	case o.EnvoyPath == "":
		return errors.New("agent: no path of an Envoy")
	case o.XDS == "" || o.Token == nil:
		return errors.New("agent: no control plane, or no token for it")
	case o.Node.GetId() == "":
		return errors.New("agent: the node has no id")
	case o.RuntimeDir == "":
		return errors.New("agent: no runtime directory")
	}
	set := func(v *string, def string) {
		if *v == "" {
			*v = def
		}
	}
	set(&o.TrustDomain, spiffe.DefaultTrustDomain)
	set(&o.Admin, "127.0.0.1:15000")
	set(&o.Metrics, "0.0.0.0:15020")
	set(&o.Status, "0.0.0.0:15021")
	set(&o.EnvoyLogLevel, "warning")
	if o.Concurrency == 0 {
		o.Concurrency = 2
	}
	if o.Drain == 0 {
		o.Drain = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = ops.Discard()
	}
	o.Node = proto.Clone(o.Node).(*corev3.Node)
	if o.Node.Metadata == nil {
		o.Node.Metadata = &structpb.Struct{}
	}
	if o.Node.Metadata.Fields == nil {
		o.Node.Metadata.Fields = map[string]*structpb.Value{}
	}
	o.Node.Metadata.Fields["LATEEN_DATA_PLANE"] = structpb.NewStringValue("envoy")
	o.Node.UserAgentName = "" // Envoy says its own
	return nil
}

// agent is one running agent.
type agent struct {
	o     Options
	id    *identity.Identity
	conn  *grpc.ClientConn
	admin *adminClient
	ready *ops.Readiness
	life  *life.Life
	xds   *relay
	live  atomic.Bool // the Envoy has served once: its configuration is in force
}

// Run runs an Envoy and all that it needs until ctx ends; then it drains and
// stops it. It returns an error when the Envoy cannot be kept running.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.fill(); err != nil {
		return err
	}
	if err := os.MkdirAll(o.RuntimeDir, 0o700); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	a := &agent{o: o, ready: ops.NewReadiness("certificate", "envoy")}
	if a.admin, err = newAdminClient(o.Admin); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	if o.Pod != nil {
		a.conn, a.id, a.life = o.Pod.Conn, o.Pod.Identity, o.Pod.Life
	} else if err := a.ownSurroundings(); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	defer func() { _ = a.conn.Close() }() // nothing is under way any more
	a.xds = a.newRelay()
	if err := a.writeBootstrap(); err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	return a.run(ctx)
}

// ownSurroundings makes what a pod would give.
func (a *agent) ownSurroundings() (err error) {
	if a.conn, err = dial(a.o.XDS); err != nil {
		return fmt.Errorf("control plane %s: %w", a.o.XDS, err)
	}
	if a.id, err = a.newIdentity(); err != nil {
		return errors.Join(err, a.conn.Close())
	}
	a.life = life.New(life.Options{Termination: a.o.Drain, Last: true, Log: ops.Scope(a.o.Log, "life")})
	return nil
}

// run starts the parts. They outlive ctx until the Envoy is drained.
func (a *agent) run(ctx context.Context) error {
	parts, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop(nil)
	serve, err := a.listen()
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	serve = append(serve, a.watchReadiness, a.xds.run)
	if a.o.Pod != nil {
		serve = append(serve, a.o.Pod.Run)
	} else {
		serve = append(serve, a.id.Run)
	}
	for _, part := range serve {
		wg.Go(func() {
			if err := part(parts); err != nil && parts.Err() == nil {
				stop(err)
			}
		})
	}
	envoy, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(parts, cancel)()
	err = a.supervise(envoy)
	if cause := context.Cause(parts); err == nil && cause != nil {
		return cause
	}
	return err
}

// listen opens the agent's sockets and returns what serves them.
func (a *agent) listen() (parts []func(context.Context) error, err error) {
	var opened []net.Listener
	defer func() {
		if err != nil {
			for _, l := range opened {
				err = errors.Join(err, l.Close())
			}
		}
	}()
	l, err := listenPrivate(filepath.Join(a.o.RuntimeDir, agentSocket))
	if err != nil {
		return nil, err
	}
	opened = append(opened, l)
	parts = append(parts, a.serveEnvoy(l))
	if a.o.Pod != nil {
		return parts, a.o.Pod.Listen(sidecar.Behind{Ready: a.ready.Err, Metrics: a.ownMetrics, TextOnly: true})
	}
	for _, s := range []struct {
		addr    string
		handler http.Handler
	}{{a.o.Metrics, a.metricsHandler()}, {a.o.Status, a.statusHandler()}} {
		if s.addr == "-" {
			continue
		}
		l, err := net.Listen("tcp", s.addr)
		if err != nil {
			return nil, err
		}
		opened = append(opened, l)
		parts = append(parts, serveHTTP(l, s.handler))
	}
	return parts, nil
}

// listenPrivate makes a socket for this user's processes; a stale one of an
// earlier agent is replaced, since the directory is this agent's own.
func listenPrivate(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// dial makes the connection to the control plane, which is tried again at least
// every second while that is away.
func dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)),
		grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(4<<10), grpc.WithSharedWriteBuffer(true),
	)
}

func (a *agent) newIdentity() (*identity.Identity, error) {
	f := a.o.Node.GetMetadata().GetFields()
	account := f["SERVICE_ACCOUNT"].GetStringValue()
	if account == "" {
		account = "default"
	}
	id, err := spiffe.New(a.o.TrustDomain, f["NAMESPACE"].GetStringValue(), account)
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	return identity.New(identity.Options{ID: id, Issuer: identity.NewIssuer(a.conn, a.o.Token), Log: ops.Scope(a.o.Log, "identity")}), nil
}

func serveHTTP(l net.Listener, h http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		srv := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
		stop := context.AfterFunc(ctx, func() { srv.Close() })
		defer stop()
		if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("HTTP at %s: %w", l.Addr(), err)
		}
		return nil
	}
}
