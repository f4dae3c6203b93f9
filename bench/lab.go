package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/lateen-mesh/lateen/bench/mesh"
	"github.com/lateen-mesh/lateen/bench/origin"
	"github.com/lateen-mesh/lateen/bench/peer"
	"github.com/lateen-mesh/lateen/bench/proc"
)

// lab is what a run of cases works with.
type lab struct {
	*settings
	dir      string
	site     *peer.Site
	origin   *proc.Process
	addr     origin.Addresses
	missing  map[string]string // kinds that cannot be had, and why
	versions map[string]string
	notes    []string
	progress func(format string, args ...any)
}

// newLab builds, starts and finds everything; close ends it.
func newLab(ctx context.Context, s *settings, progress func(string, ...any)) (*lab, error) {
	dir, err := os.MkdirTemp("", "lateen-bench-")
	if err != nil {
		return nil, err
	}
	l := &lab{settings: s, dir: dir, missing: map[string]string{}, versions: map[string]string{}, progress: progress}
	if err := l.open(ctx); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (l *lab) open(ctx context.Context) error {
	if _, err := peer.Find("taskset"); err != nil {
		return errors.New("taskset is missing: install util-linux")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	authority, err := mesh.NewAuthority("bench root")
	if err != nil {
		return err
	}
	control, err := mesh.NewServer(filepath.Join(l.dir, "xds.sock"), authority)
	if err != nil {
		return err
	}
	l.site = &peer.Site{Dir: l.dir, Self: self, Programs: map[string]string{}, Authority: authority, Control: control}
	if err := l.findPrograms(ctx); err != nil {
		return err
	}
	if err := proc.Pin(l.loadCores); err != nil {
		return err
	}
	return l.startOrigin()
}

func (l *lab) close() {
	if l.origin != nil {
		l.origin.Stop()
	}
	if l.site != nil {
		l.site.Control.Close()
	}
	if l.keep {
		l.progress("configurations and logs are kept in %s", l.dir)
		return
	}
	if err := os.RemoveAll(l.dir); err != nil {
		l.progress("cleaning up: %v", err)
	}
}

// findPrograms builds our proxy and looks for the others.
func (l *lab) findPrograms(ctx context.Context) error {
	l.site.Programs[peer.Lateen] = l.lateen
	if l.lateen == "" {
		path := filepath.Join(l.dir, "lateen-proxy")
		l.progress("building lateen-proxy")
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "grpcnotrace", "-ldflags", "-s -w", "-o", path, "github.com/lateen-mesh/lateen/cmd/lateen-proxy")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("building lateen-proxy: %w: %s", err, out)
		}
		l.site.Programs[peer.Lateen] = path
	}
	for kind, name := range map[string]string{peer.Envoy: envoyPath(), peer.HAProxy: "haproxy", peer.Nginx: "nginx"} {
		path, err := peer.Find(name)
		if err != nil {
			l.missing[kind] = fmt.Sprintf("%v (scripts/bench-setup.sh installs it)", err)
			continue
		}
		l.site.Programs[kind] = path
	}
	return nil
}

// envoyPath is where setup.sh puts Envoy.
func envoyPath() string {
	if p := os.Getenv("LATEEN_TEST_ENVOY"); p != "" {
		return p
	}
	return cached("envoy")
}

// cached is the path of a program in the tree's cache of tools.
func cached(name string) string {
	dir := os.Getenv("LATEEN_CACHE")
	if dir == "" {
		dir = ".cache"
	}
	return filepath.Join(dir, "tools", name)
}

func (l *lab) startOrigin() error {
	ports, err := peer.FreePorts(4)
	if err != nil {
		return err
	}
	l.addr = origin.Addresses{HTTP1: ports[0], HTTP2: ports[1], GRPC: ports[2], Stream: ports[3]}
	text, err := json.Marshal(l.addr)
	if err != nil {
		return err
	}
	l.origin, err = proc.Start(proc.Spec{
		Name: "origin", Cores: l.loadCores, Args: []string{l.site.Self, "serve-origin", string(text)}, Env: []string{"GOMAXPROCS=1", "GOGC=400"}, Log: filepath.Join(l.dir, "origin.log"),
	})
	if err != nil {
		return err
	}
	return l.origin.WaitFor(10*time.Second, func() error {
		c, err := net.Dial("tcp", l.addr.Stream.String())
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// launch starts a kind of proxy for a case.
func (l *lab) launch(kind string, p peer.Plan) (*peer.Running, error) {
	p.RBAC = l.rbac
	if p.Cores = l.proxyCores; p.Concurrency == 0 {
		p.Concurrency = 1
	}
	if p.Concurrency > 1 {
		p.Cores = fmt.Sprintf("0-%d", p.Concurrency-1) // shared with the load on a machine of two
	}
	switch p.Protocol {
	case mesh.HTTP1:
		p.Origin = l.addr.HTTP1
	case mesh.HTTP2:
		p.Origin = l.addr.HTTP2
		if kind == peer.Nginx { // it speaks HTTP/2 to clients only
			p.Origin = l.addr.HTTP1
			l.note("nginx speaks HTTP/2 to clients only: in h2-hop its upstream is HTTP/1.1")
		}
	case mesh.GRPC:
		p.Origin = l.addr.GRPC
	case mesh.TCP:
		p.Origin = l.addr.Stream
	}
	return l.site.Start(kind, p)
}

// start launches a proxy and checks that it does what the others do.
func (l *lab) start(ctx context.Context, kind string, p peer.Plan) (*peer.Running, error) {
	r, err := l.launch(kind, p)
	if err != nil {
		return nil, err
	}
	if err := l.verify(ctx, r); err != nil {
		tail := ""
		for _, p := range r.Procs {
			tail += "\n" + p.Tail()
		}
		r.Stop()
		return nil, fmt.Errorf("%s does not do what it should: %w%s", kind, err, tail)
	}
	return r, nil
}
