package cli

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strconv"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/local/control"
)

// board is a page in the cluster that dashboard forwards to.
type board struct {
	name, short string
	pod         bool   // the user names a pod
	selector    string // of the pods that serve it otherwise
	port        int
	path        string
}

// consoleBoard is the console, which a mesh on this machine serves too.
var consoleBoard = board{"console", "the console of the mesh", false, planeLabel, pagesPort, "/"}

// boards are istioctl's; the selectors are those of Istio's samples/addons.
var boards = []board{
	consoleBoard,
	{"envoy", "the admin pages of a proxy", true, "", adminPort, ""},
	{"proxy", "the admin pages of a proxy, ours or Envoy", true, "", adminPort, ""},
	{"istiod-debug", "the pages of the control plane", false, planeLabel, pagesPort, "/debug"},
	{"controlz", "the pages of the control plane, which has no others", false, planeLabel, pagesPort, "/debug"},
	{"prometheus", "Prometheus", false, "app.kubernetes.io/name=prometheus", 9090, ""},
	{"grafana", "Grafana", false, "app.kubernetes.io/name=grafana", 3000, ""},
	{"kiali", "Kiali", false, "app.kubernetes.io/name=kiali", 20001, "/kiali"},
	{"jaeger", "Jaeger", false, "app=jaeger", 16686, ""},
	{"zipkin", "Zipkin", false, "app=zipkin", 9411, ""},
	{"skywalking", "SkyWalking", false, "app=skywalking-ui", 8080, ""},
}

// dashboardFlags are the flags of dashboard's subcommands.
type dashboardFlags struct {
	home      homeFlags
	address   string
	namespace string
	port      int
	browser   bool
}

func newDashboardCommand(env *Env) *cobra.Command {
	var f dashboardFlags
	cmd := &cobra.Command{
		Use:     "dashboard",
		Aliases: []string{"dash", "d"},
		Short:   "Show where the console is, or make a page of the cluster reachable on this machine",
		Long: `Without a page: the address of the console of a mesh on this machine, or, of a mesh
in a cluster, a port on this machine that leads to it. With the name of a page: the
same for that page of the cluster.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env, consoleBoard, "") },
	}
	f.register(env, cmd)
	for _, b := range boards {
		cmd.AddCommand(newBoardCommand(env, b))
	}
	return cmd
}

func newBoardCommand(env *Env, b board) *cobra.Command {
	var f dashboardFlags
	cmd := &cobra.Command{
		Use: b.name, Short: "Forward a local port to " + b.short, Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			what := ""
			if b.pod {
				what = args[0]
			}
			return f.run(cmd.Context(), env, b, what)
		},
	}
	if b.pod {
		cmd.Use += " NAME[.NAMESPACE] | KIND/NAME"
		cmd.Args = usageArgs(cobra.ExactArgs(1))
	}
	f.register(env, cmd)
	return cmd
}

func (f *dashboardFlags) register(env *Env, cmd *cobra.Command) {
	f.home.register(env, cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.address, "address", "localhost", "address to listen at")
	fl.IntVarP(&f.port, "port", "p", 0, "port to listen at; 0 for the page's own, or any if that is taken")
	fl.BoolVar(&f.browser, "browser", false, "open a browser")
	fl.StringVarP(&f.namespace, "namespace", "n", "", "namespace of the pod (default: that of the control plane, or of the context)")
}

func (f *dashboardFlags) run(ctx context.Context, env *Env, b board, what string) error {
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	if m, ok := h.(*machineHome); ok && b == consoleBoard {
		return h.Explain(env, f.onMachine(ctx, env, m))
	}
	c, ok := h.(*clusterHome)
	if !ok {
		return fmt.Errorf("this works for a mesh in a cluster; on this machine `lateen proxy-config` and `lateen status` show the same")
	}
	namespace, pod, err := f.find(ctx, c, b, what)
	if err != nil {
		return c.Explain(env, err)
	}
	l, err := f.listen(b.port)
	if err != nil {
		return err
	}
	url := "http://" + net.JoinHostPort(f.address, strconv.Itoa(l.Addr().(*net.TCPAddr).Port)) + b.path
	f.show(ctx, env, url)
	return c.forward.Serve(ctx, l, namespace, pod, b.port, func(err error) { fmt.Fprintf(env.Err, "lateen: %v\n", err) })
}

// show prints an address, and opens a browser if that is asked for.
func (f *dashboardFlags) show(ctx context.Context, env *Env, url string) {
	fmt.Fprintln(env.Out, url)
	if f.browser {
		if err := exec.CommandContext(ctx, "xdg-open", url).Run(); err != nil {
			fmt.Fprintf(env.Err, "lateen: no browser was opened: %v\n", err)
		}
	}
}

// onMachine shows the console of the mesh on this machine.
func (f *dashboardFlags) onMachine(ctx context.Context, env *Env, m *machineHome) error {
	info, err := control.NewClient(m.dir).Info(ctx)
	if err != nil {
		return err
	}
	f.show(ctx, env, info.Console)
	return nil
}

// find picks the pod that serves the page.
func (f *dashboardFlags) find(ctx context.Context, c *clusterHome, b board, what string) (namespace, pod string, err error) {
	if b.pod {
		instance, err := c.Instance(ctx, what, f.namespace)
		if err != nil {
			return "", "", err
		}
		pod, namespace = splitInstance(instance)
		return namespace, pod, nil
	}
	if b.selector == planeLabel {
		pod, err = c.readyPlane(ctx)
		return c.client.Namespace(), pod, err
	}
	namespace = f.namespace
	if namespace == "" {
		namespace = c.client.Namespace()
	}
	list, err := c.client.Typed().CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: b.selector})
	if err != nil {
		return "", "", err
	}
	for _, p := range list.Items {
		if p.Status.Phase == corev1.PodRunning {
			return namespace, p.Name, nil
		}
	}
	return "", "", fmt.Errorf("no pod of %s runs in the namespace %s (looked for the label %s): install it, or name its namespace with -n", b.name, namespace, b.selector)
}

// listen takes the port that was asked for; without one, that of the page, or any.
func (f *dashboardFlags) listen(own int) (net.Listener, error) {
	if f.port != 0 {
		return net.Listen("tcp", net.JoinHostPort(f.address, strconv.Itoa(f.port)))
	}
	if l, err := net.Listen("tcp", net.JoinHostPort(f.address, strconv.Itoa(own))); err == nil {
		return l, nil
	}
	return net.Listen("tcp", net.JoinHostPort(f.address, "0"))
}
