package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/lateen-mesh/lateen/internal/local/sandbox"
	"github.com/lateen-mesh/lateen/internal/proxy/command"
)

// child keeps a process of the mesh running: it is started again when it ends,
// after a pause that grows while it ends early.
type child struct {
	name  string
	log   *slog.Logger
	make  func() (*exec.Cmd, error)
	start func(*exec.Cmd) error // in a namespace; (*exec.Cmd).Start where that is the host's
	grace time.Duration         // between SIGTERM and SIGKILL
	// started, if set, is called after each start.
	started func()
}

// Pauses between restarts of a child.
const (
	childPause    = 100 * time.Millisecond
	childMaxPause = 5 * time.Second
)

// run returns when ctx has ended and the process is gone.
func (c *child) run(ctx context.Context) {
	pause := childPause
	for ctx.Err() == nil {
		began := time.Now()
		err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			pause = childPause
		}
		c.log.Error("process ended", "process", c.name, "error", err, "restart", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		pause = min(2*pause, childMaxPause)
	}
}

func (c *child) once(ctx context.Context) error {
	cmd, err := c.make()
	if err != nil {
		return err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if err := c.start(cmd); err != nil {
		return err
	}
	if c.started != nil {
		c.started()
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// Errors mean that the process is gone, which the channel tells.
	_ = cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(c.grace):
		_ = cmd.Process.Kill()
		<-ended
	}
	return nil
}

// remote is a proxy in a process of its own, told about by its pages.
type remote struct {
	place  *place
	cancel context.CancelFunc
	wg     sync.WaitGroup
	http   *http.Client
	ready  atomic.Bool
}

// drainTime is what a proxy's process gets to end.
const drainTime = 2 * time.Second

// startRemote keeps a proxy's process running. prepare makes its description in a
// directory of its own and returns the command for it.
func (p *place) startRemote(ctx context.Context, start func(*exec.Cmd) error, prepare func(dir string, out io.Writer) (func() *exec.Cmd, error)) (*remote, error) {
	out, err := p.runtime.output(p.spec, proxyOutput)
	if err != nil {
		return nil, err
	}
	dir := p.runtime.proxyDir()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := p.writeToken(dir); err != nil {
		return nil, err
	}
	makeCmd, err := prepare(dir, out)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &remote{place: p, cancel: cancel}
	r.http = &http.Client{Timeout: time.Second, Transport: &http.Transport{DialContext: p.at.Namespace.DialContext, DisableKeepAlives: true}}
	c := child{name: "proxy of " + p.spec.Namespace + "/" + p.spec.Name, log: p.log, start: start, grace: drainTime + time.Second}
	c.make = func() (*exec.Cmd, error) { return makeCmd(), nil }
	r.wg.Go(func() { c.run(ctx) })
	r.wg.Go(func() { r.watch(ctx) })
	r.wg.Go(func() { p.renewToken(ctx, dir) })
	if p.ingress() {
		if err := p.expose(); err != nil {
			r.Stop()
			return nil, err
		}
	}
	return r, nil
}

// expose serves the host's ports by relays to the pod.
func (p *place) expose() error {
	for port := range p.runtime.ports.Holders() {
		relay, err := p.runtime.network.Expose(p.runtime.ports, port, p.Addr())
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.exposed = append(p.exposed, relay)
		p.mu.Unlock()
	}
	return nil
}

const tokenFile = "token"

// writeToken replaces the token at once: the proxy may be reading it.
func (p *place) writeToken(dir string) error {
	token, err := p.token()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, tokenFile)
	if err := os.WriteFile(path+".new", []byte(token), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (p *place) renewToken(ctx context.Context, dir string) {
	t := time.NewTicker(tokenLife / 2 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := p.writeToken(dir); err != nil {
				p.log.Error("the proxy's token is not renewed", "error", err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// startProcess starts our own proxy as a process. It stays in the host's
// namespace and makes its sockets in the pod's.
func (p *place) startProcess(ctx context.Context) (*remote, error) {
	return p.startRemote(ctx, (*exec.Cmd).Start, func(dir string, out io.Writer) (func() *exec.Cmd, error) {
		node, err := p.nodeJSON(Native)
		if err != nil {
			return nil, err
		}
		file, err := writeJSON(dir, "proxy.json", command.Bootstrap{
			XDS: p.runtime.xds(), TokenFile: filepath.Join(dir, tokenFile), Node: node, TrustDomain: trustDomain,
			NamespaceFD: 3, Admin: adminAddr.String(), Metrics: metricsAddr.String(), Status: statusAddr.String(),
			DrainSeconds: int(drainTime / time.Second),
		})
		if err != nil {
			return nil, err
		}
		return func() *exec.Cmd {
			cmd := p.runtime.role(p.runtime.o.Roles.Proxy, "run", "--config", file)
			cmd.ExtraFiles = []*os.File{p.at.Namespace.File()}
			cmd.Stdout, cmd.Stderr = out, out
			return cmd
		}, nil
	})
}

// role makes a command of this binary in another role.
func (r *runtime) role(role []string, args ...string) *exec.Cmd {
	cmd := exec.Command(sandbox.Self, append(role[:len(role):len(role)], args...)...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), "LATEEN_NAME="+r.o.Name)
	return cmd
}

func (p *place) nodeJSON(sidecar string) (json.RawMessage, error) {
	node, err := p.runtime.nodeOf(p.spec, p.Addr(), sidecar)
	if err != nil {
		return nil, err
	}
	return marshalNode(node)
}

func marshalNode(n *corev3.Node) (json.RawMessage, error) { return protojson.Marshal(n) }

func writeJSON(dir, name string, v any) (string, error) {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, text, 0o600)
}

// watch follows the proxy's readiness: often until it is ready, then now and
// then.
func (r *remote) watch(ctx context.Context) {
	for {
		r.ready.Store(r.ask(ctx, http.MethodGet, statusAddr.Port(), "/healthz/ready") == nil)
		pause := 20 * time.Millisecond
		if r.ready.Load() {
			pause = time.Second
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			r.ready.Store(false)
			return
		}
	}
}

func (r *remote) ask(ctx context.Context, method string, port uint16, path string) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1:"+strconv.Itoa(int(port))+path, nil)
	if err != nil {
		return err
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", path, resp.Status)
	}
	return nil
}

// Wait implements supervise.Proxy.
func (r *remote) Wait(ctx context.Context) error {
	t := time.NewTicker(readyPoll)
	defer t.Stop()
	for !r.ready.Load() {
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Ready implements supervise.Proxy.
func (r *remote) Ready() bool { return r.ready.Load() }

// Drain implements supervise.Proxy. How many calls are under way is not known:
// they get the drain time.
func (r *remote) Drain(ctx context.Context) {
	if err := r.ask(ctx, http.MethodPost, adminAddr.Port(), "/drain_listeners?inboundonly&graceful"); err != nil {
		if !errors.Is(err, context.Canceled) {
			r.place.log.Warn("proxy does not drain", "error", err)
		}
		return
	}
	select {
	case <-time.After(drainTime):
	case <-ctx.Done():
	}
}

// Stop implements sidecar.
func (r *remote) Stop() {
	r.cancel()
	r.wg.Wait()
}
