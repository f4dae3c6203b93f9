package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/controlplane/meshapi"
	"github.com/lateen-mesh/lateen/internal/install"
	"github.com/lateen-mesh/lateen/internal/kube"
	"github.com/lateen-mesh/lateen/internal/push"
)

// home is the mesh that a command speaks to: the one on this machine, or a
// cluster's. Commands do not know which.
type home interface {
	// Config speaks to the configuration API. In a cluster it only reads.
	Config(ctx context.Context) (*configapi.Client, error)
	// Planes are the replicas of the control plane, at least one. Each knows the
	// proxies that are connected to it.
	Planes(ctx context.Context) ([]replica, error)
	// Instance finds the proxy that a user means by NAME[.NAMESPACE] or KIND/NAME and
	// returns its name, "NAME.NAMESPACE". The namespace "" is the home's default.
	Instance(ctx context.Context, what, namespace string) (string, error)
	// Admin calls the admin interface of the proxy of an instance.
	Admin(ctx context.Context, instance, method, path string) ([]byte, error)
	// Explain turns an error of the calls above into one that tells the user what to
	// do; it may print to env.Err. nil stays nil.
	Explain(env *Env, err error) error
}

// replica is one replica of the control plane.
type replica struct {
	name string
	api  *meshapi.Client
}

// connected is a proxy and the replica that serves it.
type connected struct {
	push.ProxyStatus
	Plane string `json:"istiod"`
}

// connectedProxies asks all replicas, and sorts by name. A proxy that has just
// moved may be known to two: the newer connection counts.
func connectedProxies(ctx context.Context, h home) ([]connected, error) {
	planes, err := h.Planes(ctx)
	if err != nil {
		return nil, err
	}
	best := map[string]connected{}
	for _, p := range planes {
		list, err := p.api.Proxies(ctx)
		if err != nil {
			return nil, fmt.Errorf("asking %s for its proxies: %w", p.name, err)
		}
		for _, s := range list {
			if known, ok := best[s.Name]; !ok || s.Since.After(known.Since) {
				best[s.Name] = connected{s, p.name}
			}
		}
	}
	out := make([]connected, 0, len(best))
	for _, c := range best {
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b connected) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// findConnected finds a proxy by its name among those that are connected.
func findConnected(ctx context.Context, h home, instance string) (connected, replica, error) {
	planes, err := h.Planes(ctx)
	if err != nil {
		return connected{}, replica{}, err
	}
	list, err := connectedProxies(ctx, h)
	if err != nil {
		return connected{}, replica{}, err
	}
	for _, c := range list {
		if c.Name == instance {
			for _, p := range planes {
				if p.name == c.Plane {
					return c, p, nil
				}
			}
		}
	}
	return connected{}, replica{}, fmt.Errorf("the proxy of %s is not connected to the control plane; `lateen proxy-status` lists those that are", instance)
}

// homeFlags say which mesh a command is about.
type homeFlags struct {
	mesh                                     meshFlag
	kubeconfig, context, namespace, revision string
	changed                                  func(flag string) bool
}

// homeRule is the part of a help text that says which mesh is meant.
const homeRule = `
Which mesh is meant: with --name the one on this machine; with --context,
--kubeconfig, --istioNamespace or --revision the one in that cluster; with none of
these the one that runs on this machine, and if none does, the one in the cluster
of the kubeconfig in force.`

// clusterFlagNames are the flags that mean a cluster.
var clusterFlagNames = []string{"context", "kubeconfig", "istioNamespace", "revision"}

// register adds the flags, with istioctl's short forms where they are free: name in
// taken those that the command needs for itself.
func (f *homeFlags) register(env *Env, cmd *cobra.Command, taken ...string) {
	f.mesh.register(env, cmd)
	short := func(letter string) string {
		if slices.Contains(taken, letter) {
			return ""
		}
		return letter
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.kubeconfig, "kubeconfig", short("c"), "", "file that says where the cluster is")
	fl.StringVar(&f.context, "context", "", "context of the kubeconfig")
	fl.StringVarP(&f.namespace, "istioNamespace", short("i"), install.DefaultNamespace, "namespace of the control plane in the cluster")
	fl.StringVar(&f.revision, "revision", "", "revision of the control plane in the cluster; default: all")
	f.changed = fl.Changed
	if cmd.Long == "" {
		cmd.Long = cmd.Short + "."
	}
	cmd.Long += "\n" + homeRule
}

// wantsCluster tells what the flags say: a cluster, this machine, or nothing.
func (f *homeFlags) wantsCluster(env *Env) (cluster, machine bool, err error) {
	for _, name := range clusterFlagNames {
		if f.changed(name) {
			if f.changed(cmp.Or(f.mesh.flagName, "name")) {
				return false, false, usage("--name means a mesh on this machine and --%s one in a cluster: give one of them", name)
			}
			return true, false, nil
		}
	}
	return false, f.changed(cmp.Or(f.mesh.flagName, "name")) || env.Getenv("LATEEN_NAME") != "", nil
}

// open finds the mesh that is meant.
func (f *homeFlags) open(ctx context.Context, env *Env) (home, error) {
	cluster, machine, err := f.wantsCluster(env)
	switch {
	case err != nil:
		return nil, err
	case cluster:
		return f.cluster(ctx)
	case machine:
		return f.machine(env)
	}
	if _, err := f.mesh.client(env); err != nil {
		return nil, err
	}
	if f.running(env) {
		return f.machine(env)
	}
	if kube.HasCluster(env.Getenv) {
		return f.cluster(ctx)
	}
	return nil, errNowhere
}

// errNowhere is the one sentence for those who have neither mesh.
var errNowhere = errors.New("no mesh is running on this machine (start one with `lateen up`), and there is no kubeconfig that says where a cluster is")

// running tells whether the mesh of this name runs on this machine.
func (f *homeFlags) running(env *Env) bool {
	return served(env, f.mesh.name)
}

func (f *homeFlags) machine(env *Env) (home, error) {
	config, err := f.mesh.client(env)
	if err != nil {
		return nil, err
	}
	return &machineHome{mesh: &f.mesh, dir: runtimeDir(env, f.mesh.name), config: config}, nil
}

func (f *homeFlags) options() kube.Options {
	return kube.Options{Kubeconfig: f.kubeconfig, Context: f.context, Namespace: f.namespace, Revision: f.revision}
}

func (f *homeFlags) cluster(ctx context.Context) (*clusterHome, error) {
	return openCluster(ctx, f.options(), f.revision)
}

// refuseCluster is for commands of this machine's mesh alone: it fails where the
// flags, or what runs, mean a cluster, and says what to use there.
func (f *homeFlags) refuseCluster(env *Env, instead string) error {
	cluster, machine, err := f.wantsCluster(env)
	if err != nil || machine {
		return err
	}
	if cluster || !f.running(env) && kube.HasCluster(env.Getenv) {
		return fmt.Errorf("this works for a mesh on this machine; in a cluster use `%s`", instead)
	}
	return nil
}

// splitInstance takes "NAME.NAMESPACE" apart; names of pods may hold dots.
func splitInstance(instance string) (name, namespace string) {
	if i := strings.LastIndexByte(instance, '.'); i >= 0 {
		return instance[:i], instance[i+1:]
	}
	return instance, ""
}
