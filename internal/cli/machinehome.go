package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/local/control"
)

// machineHome is a mesh on this machine: its sockets.
type machineHome struct {
	mesh   *meshFlag
	dir    string // of the sockets
	config *configapi.Client
}

// served tells whether anybody serves the sockets of the mesh.
func served(env *Env, name string) bool {
	conn, err := net.DialTimeout("unix", filepath.Join(runtimeDir(env, name), configapi.SocketName), 2*time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// Config implements home.
func (h *machineHome) Config(context.Context) (*configapi.Client, error) { return h.config, nil }

// Planes implements home: the control plane is part of the mesh's process.
func (h *machineHome) Planes(context.Context) ([]replica, error) {
	return []replica{{"lateen-" + h.mesh.name, meshapi.NewClient(filepath.Join(h.dir, meshapi.SocketName))}}, nil
}

// Instance implements home: an instance's name, or the beginning of one up to a
// dash ("reviews-v1", "productpage"), whose first instance is taken.
func (h *machineHome) Instance(ctx context.Context, what, namespace string) (string, error) {
	name := what
	if _, n, ok := strings.Cut(what, "/"); ok { // "deploy/reviews-v1", "pod/…"
		name = n
	}
	if n, ns, ok := strings.Cut(name, "."); ok {
		name, namespace = n, ns
	}
	all, err := connectedProxies(ctx, h)
	if err != nil {
		return "", err
	}
	near := ""
	for _, p := range all {
		instance, ns := splitInstance(p.Name)
		if namespace != "" && ns != namespace {
			continue
		}
		if instance == name {
			return p.Name, nil
		}
		if near == "" && strings.HasPrefix(instance, name+"-") {
			near = p.Name
		}
	}
	if near != "" {
		return near, nil
	}
	where := ""
	if namespace != "" {
		where = " in the namespace " + namespace
	}
	return "", fmt.Errorf("no connected proxy is of a workload %q%s; `lateen proxy-status` lists them", name, where)
}

// Admin implements home, through the mesh's control socket.
func (h *machineHome) Admin(ctx context.Context, instance, method, path string) ([]byte, error) {
	name, ns := splitInstance(instance)
	var d net.Dialer
	t := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", filepath.Join(h.dir, control.SocketName))
		},
	}
	return callAdmin(ctx, t, instance, method, "http://mesh/v1/proxies/"+ns+"/"+name+"/admin/"+strings.TrimPrefix(path, "/"))
}

// callAdmin calls an admin interface over a transport.
func callAdmin(ctx context.Context, t http.RoundTripper, instance, method, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := (&http.Client{Transport: t}).Do(req)
	if err != nil {
		return nil, fmt.Errorf("calling the proxy of %s: %w", instance, err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the proxy of %s: %w", instance, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the proxy of %s answers %s: %s", instance, resp.Status, strings.TrimSpace(string(text)))
	}
	return text, nil
}

// Explain implements home.
func (h *machineHome) Explain(env *Env, err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" && op.Net == "unix" {
		return h.mesh.explain(env, configapi.ErrNotRunning)
	}
	return h.mesh.explain(env, err)
}
