package command

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/intercept"
	"github.com/lateen-mesh/lateen/internal/ops"
	"github.com/lateen-mesh/lateen/internal/ops/process"
	"github.com/lateen-mesh/lateen/internal/proxy"
	"github.com/lateen-mesh/lateen/internal/proxy/overload"
	"github.com/lateen-mesh/lateen/internal/proxy/rawio"
	"github.com/lateen-mesh/lateen/internal/spiffe"
	"github.com/lateen-mesh/lateen/internal/xds/client"
)

func runCommand(ctx context.Context, env *Env, args []string) error {
	b, err := parseBootstrap(env, args)
	if err != nil {
		return err
	}
	if b.pod {
		return runPod(ctx, env, b)
	}
	return Run(ctx, env, b)
}

// Run runs a proxy as its process's whole work, until ctx ends; then it is no
// longer ready, drains, and returns when no connection is left or the drain time
// has passed.
func Run(ctx context.Context, env *Env, b *Bootstrap) error {
	levels := ops.NewLevels(slog.LevelInfo)
	if err := levels.Apply(b.LogLevel); err != nil {
		return usageError{err}
	}
	log := ops.NewLogger(env.Err, ops.ParseForm(b.LogFormat), levels)
	settings := process.Apply(process.Settings{Concurrency: b.concurrency(), Getenv: env.Getenv, Log: ops.Scope(log, "runtime")})
	defer settings.Close()
	guard := overload.New(overload.Options{Process: settings, Log: ops.Scope(log, "overload")})
	node, err := b.node(env.Getenv)
	if err != nil {
		return err
	}
	place, err := openPlace(b)
	if err != nil {
		return err
	}
	defer place.close()
	// The process's own end comes after draining, by this context.
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	quit, quitNow := context.WithCancel(ctx)
	defer quitNow()

	id, closeID, err := newIdentity(b, node, ops.Scope(log, "identity"))
	if err != nil {
		return err
	}
	defer closeID()
	o := proxy.Options{
		Node: node, Sockets: place.sockets, Secrets: id, AccessLog: env.Out, ErrorLog: env.Err,
		Log: log, Levels: levels, Concurrency: settings.Procs, MaxConnections: b.MaxConnections, Quit: quitNow,
		DrainTime: time.Duration(b.ChangeDrainSeconds) * time.Second, Overload: guard, Runtime: settings, Profiles: true,
	}
	ads, err := newSource(b, node, ops.Scope(log, "xds"))
	if err != nil {
		return err
	}
	o.Source = ads
	if err := place.listen(b, &o); err != nil {
		return err
	}
	p, err := proxy.New(o)
	if err != nil {
		return err
	}
	ads.Beside(p.Observe)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		if err := id.Run(run); err != nil && run.Err() == nil {
			log.Error("identity ended", "err", err)
		}
	})
	wg.Go(func() { guard.Run(run) })
	done := make(chan error, 1)
	wg.Go(func() { done <- p.Run(run) })
	select {
	case err := <-done:
		return err
	case <-quit.Done():
	}
	b.drainProxy(run, p, log)
	cancel()
	return <-done
}

// drainProxy lets open connections finish, within the drain time.
func (b *Bootstrap) drainProxy(ctx context.Context, p *proxy.Proxy, log *slog.Logger) {
	ctx, stop := context.WithTimeout(ctx, b.drain())
	defer stop()
	start := time.Now()
	log.Info("draining", "at_most", b.drain(), "connections", p.Connections())
	p.Drain(ctx)
	if b.WaitOutDrain {
		<-ctx.Done()
	}
	log.Info("drained", "after", time.Since(start).Truncate(time.Millisecond), "connections", p.Connections())
}

// place is where the proxy's sockets are made.
type place struct {
	sockets rawio.Sockets
	ns      *intercept.Namespace // nil: the process's own
}

func openPlace(b *Bootstrap) (*place, error) {
	if b.NamespaceFD == 0 {
		return &place{sockets: rawio.HostSockets{Mark: b.Mark}}, nil
	}
	ns, err := intercept.OpenNamespace(b.NamespaceFD)
	if err != nil {
		return nil, err
	}
	return &place{sockets: ns.Sockets(), ns: ns}, nil
}

func (p *place) close() {
	if p.ns != nil {
		_ = p.ns.Close() // the process ends
	}
}

// listen opens the proxy's own pages.
func (p *place) listen(b *Bootstrap, o *proxy.Options) error {
	var opened []net.Listener
	for _, x := range []struct {
		name, addr string
		to         *net.Listener
	}{{"admin", b.Admin, &o.AdminListener}, {"metrics", b.Metrics, &o.MetricsListener}, {"status", b.Status, &o.StatusListener}} {
		if x.addr == "" {
			continue
		}
		l, err := p.open(x.addr)
		if err != nil {
			for _, l := range opened {
				err = errors.Join(err, l.Close())
			}
			return fmt.Errorf("%s address: %w", x.name, err)
		}
		opened = append(opened, l)
		*x.to = l
	}
	return nil
}

func (p *place) open(addr string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(addr, "unix://"); ok {
		return net.Listen("unix", path)
	}
	if p.ns == nil {
		return net.Listen("tcp", addr)
	}
	a, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, err
	}
	return p.ns.Listen(a)
}

// token reads the token anew each time: it is renewed behind our back.
func (b *Bootstrap) token() (string, error) {
	text, err := os.ReadFile(b.TokenFile)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}

// tls gives the TLS settings for the control plane, nil for plain text.
func (b *Bootstrap) tls() (*tls.Config, error) {
	if b.CAFile == "" {
		return nil, nil
	}
	text, err := os.ReadFile(b.CAFile)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s holds no certificate", b.CAFile)
	}
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13}, nil
}

func newSource(b *Bootstrap, node *corev3.Node, log *slog.Logger) (*client.Client, error) {
	cfg, err := b.tls()
	if err != nil {
		return nil, err
	}
	o := client.Options{Target: b.XDS, TLS: cfg, Node: node, Log: log}
	if b.TokenFile != "" {
		o.Token = b.token
	}
	return client.New(o)
}

// newIdentity makes the workload's identity, signed by the control plane.
func newIdentity(b *Bootstrap, node *corev3.Node, log *slog.Logger) (*identity.Identity, func(), error) {
	f := node.GetMetadata().GetFields()
	account := f["SERVICE_ACCOUNT"].GetStringValue()
	if account == "" {
		account = "default"
	}
	id, err := spiffe.New(b.TrustDomain, f["NAMESPACE"].GetStringValue(), account)
	if err != nil {
		return nil, nil, fmt.Errorf("node: %w", err)
	}
	cfg, err := b.tls()
	if err != nil {
		return nil, nil, err
	}
	creds := insecure.NewCredentials()
	if cfg != nil {
		creds = credentials.NewTLS(cfg)
	}
	target := b.XDS
	if !strings.Contains(target, "://") {
		target = "passthrough:///" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds), grpc.WithNoProxy(), grpc.WithIdleTimeout(time.Minute))
	if err != nil {
		return nil, nil, fmt.Errorf("control plane %s: %w", b.XDS, err)
	}
	closeConn := func() { _ = conn.Close() } // nothing is under way
	return identity.New(identity.Options{ID: id, Issuer: identity.NewIssuer(conn, b.token), Log: log}), closeConn, nil
}
