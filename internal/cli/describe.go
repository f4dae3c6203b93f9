package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	words "github.com/lateen-mesh/lateen/internal/describe"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/verdict"
)

// describing is what describe asks of a home beside its objects.
type describing interface {
	home
	// Subject tells what is known of a pod.
	Subject(ctx context.Context, what, namespace string) (words.Pod, error)
	// Addresses tells the outside addresses of services, by "NAMESPACE/NAME".
	Addresses(ctx context.Context) (map[string]string, error)
}

func newDescribeCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "describe",
		Aliases: []string{"des"},
		Short:   "Say in sentences what the mesh does with a pod or a service",
		Args:    usageArgs(cobra.NoArgs),
		RunE:    func(*cobra.Command, []string) error { return usage("say what to describe: pod or service") },
	}
	cmd.AddCommand(newDescribePart(env, "pod", []string{"po"}, describePod), newDescribePart(env, "service", []string{"svc"}, describeService))
	return cmd
}

func newDescribePart(env *Env, what string, aliases []string, run func(context.Context, *Env, describing, string, string) error) *cobra.Command {
	var t proxyTarget
	cmd := &cobra.Command{
		Use: what + " NAME[.NAMESPACE]", Aliases: aliases, Short: "Describe a " + what, Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			h, err := t.home.open(cmd.Context(), env)
			if err != nil {
				return err
			}
			d, ok := h.(describing)
			if !ok {
				return fmt.Errorf("this mesh cannot be described")
			}
			return h.Explain(env, run(cmd.Context(), env, d, args[0], t.namespace))
		},
	}
	t.register(env, cmd)
	return cmd
}

func describePod(ctx context.Context, env *Env, h describing, what, namespace string) error {
	p, err := h.Subject(ctx, what, namespace)
	if err != nil {
		return err
	}
	m, err := describedMesh(ctx, h)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(env.Out, m.Pod(p))
	return err
}

func describeService(ctx context.Context, env *Env, h describing, what, namespace string) error {
	name := what
	if n, ns := splitInstance(what); ns != "" {
		name, namespace = n, ns
	}
	m, err := describedMesh(ctx, h)
	if err != nil {
		return err
	}
	text, err := m.Service(cmp.Or(namespace, api.DefaultNamespace), name)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(env.Out, text)
	return err
}

// describedMesh reads the mesh's objects, verdicts and addresses.
func describedMesh(ctx context.Context, h describing) (*words.Mesh, error) {
	objects, statuses, err := readMesh(ctx, h)
	if err != nil {
		return nil, err
	}
	addresses, err := h.Addresses(ctx)
	if err != nil {
		return nil, err
	}
	m := &words.Mesh{Objects: objects, RootNamespace: mesh.DefaultRootNamespace, Verdicts: map[verdict.Ref][]verdict.Status{}}
	for _, s := range statuses {
		m.Verdicts[s.Ref] = append(m.Verdicts[s.Ref], s)
	}
	m.Address = func(namespace, service string) string { return addresses[namespace+"/"+service] }
	return m, nil
}

// readMesh reads the objects of a mesh and what became of them.
func readMesh(ctx context.Context, h home) ([]*api.Object, []verdict.Status, error) {
	c, err := h.Config(ctx)
	if err != nil {
		return nil, nil, err
	}
	list, err := c.Objects(ctx, configapi.Query{})
	if err != nil {
		return nil, nil, err
	}
	var objects []*api.Object
	for _, raw := range list.Items {
		more, err := api.Decode(bytes.NewReader(raw), "")
		if err != nil {
			return nil, nil, fmt.Errorf("reading the mesh's objects: %w", err)
		}
		objects = append(objects, more...)
	}
	said, err := c.Status(ctx, configapi.Query{})
	if err != nil {
		return nil, nil, err
	}
	return objects, statusesOf(said), nil
}

// statusesOf takes the API's answer apart into verdicts.
func statusesOf(list configapi.StatusList) []verdict.Status {
	var out []verdict.Status
	for _, o := range list.Objects {
		ref := verdict.Ref{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
		for _, d := range o.Details {
			out = append(out, verdict.Status{Origin: verdict.Origin{Ref: ref, Generation: o.Generation, Path: d.Path}, Code: d.Code, Message: d.Message})
		}
	}
	return out
}

// Subject implements describing.
func (h *clusterHome) Subject(ctx context.Context, what, namespace string) (words.Pod, error) {
	p, err := h.pod(ctx, what, namespace)
	if err != nil {
		return words.Pod{}, err
	}
	out := words.Pod{Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, Proxied: hasProxy(p), Running: p.Status.Phase == corev1.PodRunning, Revision: injectedBy(p)}
	for _, c := range append(p.Spec.Containers, p.Spec.InitContainers...) {
		for _, port := range c.Ports {
			out.Ports = append(out.Ports, words.Port{Number: port.ContainerPort, Protocol: string(port.Protocol), Container: c.Name})
		}
	}
	return out, nil
}

// injectedBy reads the revision of the control plane that injected a pod from the
// injector's note; a gateway's label says it too.
func injectedBy(p *corev1.Pod) string {
	var note struct{ Revision string }
	if text := p.Annotations["sidecar.istio.io/status"]; text != "" {
		if err := json.Unmarshal([]byte(text), &note); err != nil {
			return "unknown"
		}
	}
	return cmp.Or(note.Revision, p.Labels[revisionLabel])
}

// Addresses implements describing.
func (h *clusterHome) Addresses(ctx context.Context) (map[string]string, error) {
	list, err := h.client.Typed().CoreV1().Services("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := map[string]string{}
	for _, s := range list.Items {
		for _, in := range s.Status.LoadBalancer.Ingress {
			if a := cmp.Or(in.IP, in.Hostname); a != "" {
				out[s.Namespace+"/"+s.Name] = a
				break
			}
		}
	}
	return out, nil
}

// Subject implements describing. What is known of a workload on this machine is
// what its services say.
func (h *machineHome) Subject(ctx context.Context, what, namespace string) (words.Pod, error) {
	instance, err := h.Instance(ctx, what, namespace)
	if err != nil {
		return words.Pod{}, err
	}
	name, ns := splitInstance(instance)
	planes, err := h.Planes(ctx)
	if err != nil {
		return words.Pod{}, err
	}
	text, err := planes[0].api.Page(ctx, "/debug/endpointz")
	if err != nil {
		return words.Pod{}, err
	}
	var services []struct {
		Endpoints []struct {
			Address, Workload string
			Labels            map[string]string
		}
	}
	if err := json.Unmarshal(text, &services); err != nil {
		return words.Pod{}, fmt.Errorf("reading the endpoints: %w", err)
	}
	out := words.Pod{Namespace: ns, Name: name, Proxied: true, Running: true, Revision: "default"}
	for _, s := range services {
		for _, e := range s.Endpoints {
			if e.Workload == ns+"/"+name {
				out.Labels = e.Labels
			}
		}
	}
	return out, nil
}

// Addresses implements describing: gateways on this machine listen at loopback.
func (h *machineHome) Addresses(context.Context) (map[string]string, error) {
	return map[string]string{}, nil
}
