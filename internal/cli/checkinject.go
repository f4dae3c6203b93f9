package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	admission "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/kube"
)

// injectionCluster is what check-inject asks of a cluster.
type injectionCluster interface {
	Webhooks(ctx context.Context) ([]admission.MutatingWebhookConfiguration, error)
	Namespace(ctx context.Context, name string) (inject.Namespace, error)
	// Pod returns a pod, or the template of a workload, by its kind in lower case.
	Pod(ctx context.Context, namespace, kind, name string) (*corev1.Pod, error)
	// InjectorConfig is the text of a revision's configuration; "" if there is none.
	InjectorConfig(ctx context.Context, revision string) (string, error)
}

type checkInjectFlags struct {
	cluster           clusterFlags
	namespace, labels string
}

func newCheckInjectCommand(env *Env) *cobra.Command {
	f := &checkInjectFlags{}
	cmd := &cobra.Command{
		Use:   "check-inject [[KIND/]NAME[.NAMESPACE]]",
		Short: "Say whether a pod gets a proxy, from which control plane, and why",
		Long: `Say for every injector's webhook configuration whether it selects a pod, and why.
The pod is named, is that of a workload (deployment/reviews), or is described by its
labels (-l); without any of these the answer is for pods of the namespace that have
no labels.`,
		Example: `  lateen check-inject details-v1-fcff6c49c-kqnfk.test
  lateen check-inject -n test deployment/details-v1
  lateen check-inject -n test -l app=helloworld,version=v1`,
		Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := kube.Connect(cmd.Context(), kube.Options{Kubeconfig: f.cluster.kubeconfig, Context: f.cluster.context, Namespace: f.cluster.namespace})
			if err != nil {
				return err
			}
			return f.run(cmd.Context(), env, clusterOf{c}, args)
		},
	}
	f.cluster.register(cmd)
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "default", "namespace of the pod")
	cmd.Flags().StringVarP(&f.labels, "labels", "l", "", "labels of the pod, with commas")
	return cmd
}

func (f *checkInjectFlags) run(ctx context.Context, env *Env, c injectionCluster, args []string) error {
	pod, namespace, err := f.pod(ctx, c, args)
	if err != nil {
		return err
	}
	ns, err := c.Namespace(ctx, namespace)
	if err != nil {
		return err
	}
	hooks, err := c.Webhooks(ctx)
	if err != nil {
		return err
	}
	matches, err := inject.MatchWebhooks(hooks, ns, pod.Labels)
	if err != nil {
		return err
	}
	if len(matches) == 0 {
		return errors.New("the cluster has no injector's webhook configuration; is a control plane installed?")
	}
	w := tabwriter.NewWriter(env.Out, 0, 8, 4, ' ', 0)
	fmt.Fprintln(w, "WEBHOOK\tREVISION\tINJECTED\tREASON")
	for _, m := range matches {
		if m.Injected {
			if err := f.judge(ctx, c, &m, pod, ns); err != nil {
				return err
			}
		}
		mark := "✘"
		if m.Injected {
			mark = "✔"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", m.Webhook, m.Revision, mark, m.Reason)
	}
	return w.Flush()
}

// judge asks what the control plane itself will say to a pod that its webhook
// selects.
func (f *checkInjectFlags) judge(ctx context.Context, c injectionCluster, m *inject.Match, pod *corev1.Pod, ns inject.Namespace) error {
	text, err := c.InjectorConfig(ctx, m.Revision)
	if err != nil {
		return err
	}
	config, err := inject.ParseConfig([]byte(text))
	if err != nil {
		return err
	}
	in, err := inject.New(inject.Settings{Config: config, SystemNamespace: f.cluster.namespace, Revision: m.Revision})
	if err != nil {
		return err
	}
	meta := pod.ObjectMeta
	meta.Namespace = ns.Name
	if d := in.Decide(&meta, &pod.Spec); !d.Inject {
		m.Injected, m.Reason = false, m.Reason+", but "+d.Message
	}
	return nil
}

// pod finds the pod that the arguments name, and its namespace.
func (f *checkInjectFlags) pod(ctx context.Context, c injectionCluster, args []string) (*corev1.Pod, string, error) {
	if f.labels != "" {
		if len(args) > 0 {
			return nil, "", usage("name a pod or give its labels with -l, not both")
		}
		set, err := labels.ConvertSelectorToLabelsMap(f.labels)
		if err != nil {
			return nil, "", usage("-l %s: %v", f.labels, err)
		}
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: set}}, f.namespace, nil
	}
	if len(args) == 0 {
		return &corev1.Pod{}, f.namespace, nil
	}
	kind, name, ok := strings.Cut(args[0], "/")
	if !ok {
		kind, name = "pod", args[0]
	}
	namespace := f.namespace
	if i := strings.LastIndexByte(name, '.'); i >= 0 {
		name, namespace = name[:i], name[i+1:]
	}
	pod, err := c.Pod(ctx, namespace, strings.ToLower(kind), name)
	return pod, namespace, err
}

// clusterOf is the injectionCluster of a real cluster.
type clusterOf struct{ *kube.Client }

// Webhooks lists all mutating webhook configurations.
func (c clusterOf) Webhooks(ctx context.Context) ([]admission.MutatingWebhookConfiguration, error) {
	list, err := c.Typed().AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("reading the webhook configurations: %w", err)
	}
	return list.Items, nil
}

// Namespace reads a namespace.
func (c clusterOf) Namespace(ctx context.Context, name string) (inject.Namespace, error) {
	ns, err := c.Typed().CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return inject.Namespace{}, err
	}
	return inject.Namespace{Name: name, Labels: ns.Labels, Annotations: ns.Annotations}, nil
}

// Pod reads a pod or a workload.
func (c clusterOf) Pod(ctx context.Context, namespace, kind, name string) (*corev1.Pod, error) {
	core, apps, batch := c.Typed().CoreV1(), c.Typed().AppsV1(), c.Typed().BatchV1()
	of := func(t corev1.PodTemplateSpec, err error) (*corev1.Pod, error) {
		return &corev1.Pod{ObjectMeta: t.ObjectMeta, Spec: t.Spec}, err
	}
	get := metav1.GetOptions{}
	switch kind {
	case "pod", "pods", "po":
		return core.Pods(namespace).Get(ctx, name, get)
	case "deployment", "deployments", "deploy":
		w, err := apps.Deployments(namespace).Get(ctx, name, get)
		return of(w.Spec.Template, err)
	case "statefulset", "statefulsets", "sts":
		w, err := apps.StatefulSets(namespace).Get(ctx, name, get)
		return of(w.Spec.Template, err)
	case "daemonset", "daemonsets", "ds":
		w, err := apps.DaemonSets(namespace).Get(ctx, name, get)
		return of(w.Spec.Template, err)
	case "replicaset", "replicasets", "rs":
		w, err := apps.ReplicaSets(namespace).Get(ctx, name, get)
		return of(w.Spec.Template, err)
	case "job", "jobs":
		w, err := batch.Jobs(namespace).Get(ctx, name, get)
		return of(w.Spec.Template, err)
	case "cronjob", "cronjobs", "cj":
		w, err := batch.CronJobs(namespace).Get(ctx, name, get)
		return of(w.Spec.JobTemplate.Spec.Template, err)
	}
	return nil, usage("%q is not a kind with pods: use pod, deployment, statefulset, daemonset, replicaset, job or cronjob", kind)
}

// InjectorConfig reads the ConfigMap of a revision.
func (c clusterOf) InjectorConfig(ctx context.Context, revision string) (string, error) {
	name := "istio-sidecar-injector"
	if revision != "" && revision != kube.DefaultRevision {
		name += "-" + revision
	}
	m, err := c.ConfigMap(ctx, c.Client.Namespace(), name)
	if errors.Is(err, kube.ErrNotFound) {
		return "", nil
	}
	return string(m.Data["config"]), err
}
