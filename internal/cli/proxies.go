package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/push"
)

// meshClient speaks to the control plane of the mesh that f names.
func (f *meshFlag) meshClient(env *Env) *meshapi.Client {
	return meshapi.NewClient(filepath.Join(runtimeDir(env, f.name), meshapi.SocketName))
}

// findProxy finds the connected proxy that a user means by WORKLOAD or
// WORKLOAD.NAMESPACE: an instance's name, or the beginning of one up to a dash
// ("reviews-v1", "productpage"), whose first instance is taken.
func findProxy(ctx context.Context, c *meshapi.Client, workload, namespace string) (push.ProxyStatus, error) {
	name, kind, ok := strings.Cut(workload, "/")
	if ok { // "deploy/reviews-v1", "pod/…"
		name = kind
	}
	if n, ns, ok := strings.Cut(name, "."); ok {
		name, namespace = n, ns
	}
	all, err := c.Proxies(ctx)
	if err != nil {
		return push.ProxyStatus{}, err
	}
	slices.SortFunc(all, func(a, b push.ProxyStatus) int { return strings.Compare(a.Name, b.Name) })
	var near []push.ProxyStatus
	for _, p := range all {
		instance, ns, _ := strings.Cut(p.Name, ".")
		if namespace != "" && ns != namespace {
			continue
		}
		if instance == name {
			return p, nil
		}
		if strings.HasPrefix(instance, name+"-") {
			near = append(near, p)
		}
	}
	if len(near) > 0 {
		return near[0], nil
	}
	where := ""
	if namespace != "" {
		where = " in the namespace " + namespace
	}
	return push.ProxyStatus{}, fmt.Errorf("no connected proxy is of a workload %q%s; `lateen proxy-status` lists them", name, where)
}
