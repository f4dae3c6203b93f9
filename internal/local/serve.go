package local

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/local/control"
	"github.com/lateen-mesh/lateen/internal/local/sandbox"
	"github.com/lateen-mesh/lateen/internal/local/supervise"
	"github.com/lateen-mesh/lateen/internal/ops"
)

// serveControl serves the control socket until ctx ends.
func (m *mesh) serveControl(ctx context.Context, stop control.Stop) error {
	l, err := configapi.Listen(filepath.Join(m.o.Dirs.Runtime, control.SocketName))
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler: control.NewHandler(controlled{m}, stop, ops.Scope(m.log, "control")), ReadHeaderTimeout: 10 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	end := context.AfterFunc(ctx, func() {
		// The answer to `down` goes out first.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 200*time.Millisecond)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			srv.Close()
		}
	})
	defer end()
	if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// controlled is the mesh as the control socket sees it.
type controlled struct{ m *mesh }

// Info implements control.Mesh.
func (c controlled) Info() control.Info { return c.m.info }

// Pods implements control.Mesh.
func (c controlled) Pods() []supervise.Status {
	if list := c.m.sup.Pods(); list != nil {
		return list
	}
	return []supervise.Status{}
}

// LogFile implements control.Mesh.
func (c controlled) LogFile(t control.Target) (string, error) {
	pod, err := c.m.sup.Find(t.Namespace, t.Name)
	if err != nil {
		return "", err
	}
	switch t.Container {
	case "proxy", proxyOutput:
		return c.m.runtime.logFile(pod.Namespace, pod.Name, proxyOutput), nil
	case "":
		if len(pod.Containers) == 0 {
			return c.m.runtime.logFile(pod.Namespace, pod.Name, proxyOutput), nil
		}
		t.Container = pod.Containers[0]
	}
	all := slices.Concat(pod.Containers, pod.Init)
	for _, name := range all {
		if name == t.Container {
			return c.m.runtime.logFile(pod.Namespace, pod.Name, name), nil
		}
	}
	return "", fmt.Errorf("%s/%s has no container %q: there are %s", pod.Namespace, pod.Name, t.Container, strings.Join(append(all, "proxy"), ", "))
}

// Exec implements control.Mesh.
func (c controlled) Exec(t control.Target, cmd control.Command, in, out, errs *os.File) (control.Running, error) {
	p, err := c.m.sup.Program(t.Namespace, t.Name, t.Container)
	if err != nil {
		return nil, err
	}
	prog, ok := p.(*program)
	if !ok {
		return nil, errors.New("commands cannot run there")
	}
	proc, err := prog.attach(cmd.Args, cmd.Env, sandbox.Stdio{In: in, Out: out, Err: errs})
	if err != nil {
		return nil, err
	}
	return running{proc}, nil
}

type running struct{ *sandbox.Process }

func (r running) Result() (int, error) {
	exit, err := r.Process.Result()
	return exit.Code, err
}

func (r running) Signal(sig int) error { return r.Process.Signal(syscall.Signal(sig)) }

// Admin implements control.Mesh.
func (c controlled) Admin(ctx context.Context, t control.Target) (net.Conn, error) {
	p, err := c.m.sup.Place(t.Namespace, t.Name)
	if err != nil {
		return nil, err
	}
	return p.DialContext(ctx, "tcp", adminAddr.String())
}
