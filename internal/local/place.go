package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lateen-mesh/lateen/internal/ca"
	"github.com/lateen-mesh/lateen/internal/dns"
	"github.com/lateen-mesh/lateen/internal/local/netns"
	"github.com/lateen-mesh/lateen/internal/local/sandbox"
	"github.com/lateen-mesh/lateen/internal/local/supervise"
)

// place is one pod's: it implements supervise.Place.
type place struct {
	runtime *runtime
	spec    *supervise.PodSpec
	at      *netns.Place
	proxy   sidecar            // nil without one
	cancel  context.CancelFunc // ends what serves the pod
	wg      sync.WaitGroup     // what serves the pod
	log     *slog.Logger

	mu      sync.Mutex
	exposed []*netns.Relay // guarded by mu
}

// sidecar is a pod's proxy with its end.
type sidecar interface {
	supervise.Proxy
	// Stop ends the proxy at once and returns when it is gone.
	Stop()
}

// start starts what serves the pod until ctx ends: names and proxy.
func (p *place) start(ctx context.Context, kind string) (err error) {
	if !p.spec.Gateway {
		if err := p.serveNames(ctx); err != nil {
			return err
		}
	}
	if !p.spec.Injected {
		return nil
	}
	switch {
	case kind == Envoy:
		p.proxy, err = p.startEnvoy(ctx)
	case p.runtime.o.Proxies == Process:
		p.proxy, err = p.startProcess(ctx)
	default:
		p.proxy, err = p.startNative(ctx)
	}
	if err != nil {
		return fmt.Errorf("proxy of %s/%s: %w", p.spec.Namespace, p.spec.Name, err)
	}
	return nil
}

// dnsPort is where port 53 is redirected to.
const dnsPort = 15053

func (p *place) serveNames(ctx context.Context) error {
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), dnsPort)
	udp, err := p.at.Namespace.ListenPacket(addr)
	if err != nil {
		return fmt.Errorf("names: %w", err)
	}
	tcp, err := p.at.Namespace.Listen(addr)
	if err != nil {
		return errors.Join(fmt.Errorf("names: %w", err), udp.Close())
	}
	s := dns.New(dns.Options{
		Table: p.runtime.names, Namespace: p.spec.Namespace, Domain: trustDomain,
		Upstream: p.runtime.resolver, Log: p.log,
	})
	p.wg.Go(func() {
		if err := s.Serve(ctx, udp, tcp); err != nil {
			p.log.Error("names are not served", "error", err)
		}
	})
	return nil
}

// Addr implements supervise.Place.
func (p *place) Addr() netip.Addr { return p.at.Addr }

// Proxy implements supervise.Place.
func (p *place) Proxy() supervise.Proxy {
	if p.proxy == nil {
		return nil
	}
	return p.proxy
}

// DialContext implements supervise.Place.
func (p *place) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return p.at.Namespace.DialContext(ctx, network, address)
}

// token speaks for the pod.
func (p *place) token() (string, error) {
	w := ca.Workload{Namespace: p.spec.Namespace, ServiceAccount: p.spec.ServiceAccount, Instance: p.spec.Name}
	return p.runtime.tokens.Issue(w, tokenLife*time.Second)
}

// Start implements supervise.Place: each container is a sandbox.
func (p *place) Start(container string, c sandbox.Command) (supervise.Program, error) {
	out, err := p.runtime.output(p.spec, container)
	if err != nil {
		return nil, err
	}
	w, drained, err := out.pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	launch := sandbox.Launcher{SetupArgs: p.runtime.o.Roles.SandboxSetup, Start: p.at.Namespace.Start}
	box, err := launch.New(p.sandboxSpec(), w)
	if err != nil {
		return nil, err
	}
	main, err := box.Run(c, sandbox.Stdio{In: null, Out: w, Err: w})
	if err != nil {
		box.Close()
		return nil, err
	}
	return &program{box: box, main: main, command: c, drained: drained}, nil
}

func (p *place) sandboxSpec() sandbox.Spec {
	r := p.runtime
	uid, gid := r.user(p.spec)
	hide := []string{filepath.Dir(r.o.Dirs.Runtime), filepath.Dir(r.o.Dirs.State)}
	var scratch []string
	for _, dir := range p.spec.Scratch {
		if dir = filepath.Clean(dir); filepath.IsAbs(dir) && dir != "/" && !slices.Contains(scratch, dir) {
			scratch = append(scratch, dir)
		}
	}
	hosts := "127.0.0.1\tlocalhost\n" + p.Addr().String() + "\t" + p.spec.Name + "\n"
	return sandbox.Spec{
		Hostname: p.spec.Name, Hide: hide, Scratch: scratch, UID: uid, GID: gid, Hosts: hosts,
		ResolvConf: dns.ResolvConf(r.network.Gateway().String(), p.spec.Namespace, trustDomain),
	}
}

// Close implements supervise.Place.
func (p *place) Close() error {
	if p.proxy != nil {
		p.proxy.Stop()
	}
	p.cancel()
	p.wg.Wait()
	p.mu.Lock()
	for _, r := range p.exposed {
		r.Close()
	}
	p.mu.Unlock()
	return errors.Join(p.at.Close(), p.runtime.forget(p.spec))
}

// program is a container's program: it implements supervise.Program.
type program struct {
	box     *sandbox.Sandbox
	main    *sandbox.Process
	command sandbox.Command
	drained <-chan struct{} // closed when the output is in its file
}

func (p *program) Done() <-chan struct{}           { return p.main.Done() }
func (p *program) Result() (sandbox.Exit, error)   { return p.main.Result() }
func (p *program) Signal(sig syscall.Signal) error { return p.main.Signal(sig) }

func (p *program) Kill() {
	p.box.Close()
	<-p.drained
}

// attach starts a further command with the environment of the container's own.
func (p *program) attach(args, env []string, std sandbox.Stdio) (*sandbox.Process, error) {
	full := slices.Clone(p.command.Env)
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		full = slices.DeleteFunc(full, func(old string) bool { return strings.HasPrefix(old, name+"=") })
		full = append(full, e)
	}
	return p.box.Run(sandbox.Command{Path: args[0], Args: args, Env: full, Dir: p.command.Dir}, std)
}

// maxExecOutput bounds what is kept of a probe's output.
const maxExecOutput = 10 << 10

// Exec implements supervise.Program.
func (p *program) Exec(ctx context.Context, args []string) (sandbox.Exit, []byte, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return sandbox.Exit{}, nil, err
	}
	defer r.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return sandbox.Exit{}, nil, errors.Join(err, w.Close())
	}
	proc, err := p.attach(args, nil, sandbox.Stdio{In: null, Out: w, Err: w})
	null.Close()
	w.Close()
	if err != nil {
		return sandbox.Exit{}, nil, err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = proc.Signal(unix.SIGKILL) // it may be gone
		_ = r.SetReadDeadline(time.Now())
	})
	defer stop()
	var out bytes.Buffer
	if _, err := io.Copy(&out, io.LimitReader(r, maxExecOutput)); err != nil && ctx.Err() == nil {
		return sandbox.Exit{}, nil, err
	}
	r.Close() // who writes more gets SIGPIPE
	select {
	case <-proc.Done():
	case <-ctx.Done():
		return sandbox.Exit{}, out.Bytes(), ctx.Err()
	}
	exit, err := proc.Result()
	return exit, out.Bytes(), err
}
