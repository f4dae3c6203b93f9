package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/lateen-mesh/lateen/internal/cli/dump"
	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// addExperimental adds what Istio's tool has below `x`.
func addExperimental(env *Env, x *cobra.Command) {
	x.AddCommand(newDescribeCommand(env), newAuthzCommand(env), newInternalDebugCommand(env), newInjectorCommand(env), newEnvoyStatsCommand(env), newConfigCommand(env), newMetricsCommand(env))
}

func newAuthzCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{Use: "authz", Short: "Look at the authorization that a proxy enforces"}
	var t proxyTarget
	var file string
	check := &cobra.Command{
		Use: "check [NAME[.NAMESPACE] | KIND/NAME]", Short: "List the rules of the proxy's RBAC filters", Args: usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (file != "") == (len(args) == 1) {
				return usage("name a proxy, or give a dump with -f")
			}
			if file != "" {
				text, err := readText(env, file)
				if err != nil {
					return err
				}
				return printAuthz(env, []byte(text))
			}
			instance, text, err := t.ask(cmd.Context(), env, args[0], "GET", "config_dump")
			if err != nil {
				return err
			}
			if err := printAuthz(env, text); err != nil {
				return err
			}
			return t.warnOfPolicies(cmd.Context(), env, instance)
		},
	}
	t.register(env, check)
	check.Flags().StringVarP(&file, "file", "f", "", "file with the proxy's configuration dump")
	cmd.AddCommand(check)
	return cmd
}

func printAuthz(env *Env, text []byte) error {
	c, err := dump.Parse(text)
	if err != nil {
		return err
	}
	return c.WriteAuthorization(env.Out)
}

// warnOfPolicies names the policies of the proxy's namespace that do not act: a
// table without them would be read as if nobody had written any.
func (t *proxyTarget) warnOfPolicies(ctx context.Context, env *Env, instance string) error {
	h, err := t.home.open(ctx, env)
	if err != nil {
		return err
	}
	c, err := h.Config(ctx)
	if err != nil {
		return h.Explain(env, err)
	}
	list, err := c.Status(ctx, configapi.Query{Kind: "AuthorizationPolicy"})
	if err != nil {
		return h.Explain(env, err)
	}
	_, namespace := splitInstance(instance)
	for _, o := range list.Objects {
		if (o.Namespace == namespace || o.Namespace == mesh.DefaultRootNamespace) && o.Verdict.Problem() {
			message := ""
			for _, d := range o.Details {
				message = cmp.Or(message, d.Message)
			}
			fmt.Fprintf(env.Err, "Warning: AuthorizationPolicy %s/%s does not act: %s: %s\n", o.Namespace, o.Name, o.Verdict, message)
		}
	}
	return nil
}

func newInternalDebugCommand(env *Env) *cobra.Command {
	var home homeFlags
	var all bool
	cmd := &cobra.Command{
		Use:   "internal-debug PAGE",
		Short: "Show a page of the control plane: syncz, adsz, mesh, registryz, endpointz, …",
		Args:  usageArgs(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/debug/"
			if len(args) == 1 {
				path += strings.TrimPrefix(strings.TrimPrefix(args[0], "/"), "debug/")
			}
			h, err := home.open(cmd.Context(), env)
			if err != nil {
				return err
			}
			planes, err := h.Planes(cmd.Context())
			if err != nil {
				return h.Explain(env, err)
			}
			if !all {
				planes = planes[:1]
			}
			for _, p := range planes {
				text, err := p.api.Page(cmd.Context(), path)
				if err != nil {
					return h.Explain(env, fmt.Errorf("%s: %w", p.name, err))
				}
				if all {
					fmt.Fprintf(env.Out, "# %s\n", p.name)
				}
				fmt.Fprintln(env.Out, strings.TrimSpace(string(text)))
			}
			return nil
		},
	}
	home.register(env, cmd)
	cmd.Flags().BoolVar(&all, "all", false, "ask all replicas of the control plane, not the first alone")
	return cmd
}

func newInjectorCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{Use: "injector", Short: "Look at the injectors of a cluster"}
	var home homeFlags
	list := &cobra.Command{
		Use: "list", Short: "List the namespaces that are injected, and the injectors' webhooks", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := home.cluster(cmd.Context())
			if err != nil {
				return err
			}
			return c.Explain(env, listInjectors(cmd.Context(), env, c))
		},
	}
	home.register(env, list)
	cmd.AddCommand(list)
	return cmd
}

func listInjectors(ctx context.Context, env *Env, c *clusterHome) error {
	typed, all := c.client.Typed(), metav1.ListOptions{}
	namespaces, err := typed.CoreV1().Namespaces().List(ctx, all)
	if err != nil {
		return err
	}
	pods, err := typed.CoreV1().Pods("").List(ctx, all)
	if err != nil {
		return err
	}
	hooks, err := typed.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, all)
	if err != nil {
		return err
	}
	have := map[string]map[string]int{} // revisions of pods, by namespace
	for _, p := range pods.Items {
		if hasProxy(&p) {
			if have[p.Namespace] == nil {
				have[p.Namespace] = map[string]int{}
			}
			have[p.Namespace][injectedBy(&p)]++
		}
	}
	w := newTable(env.Out)
	w.row("NAMESPACE", "ISTIO-REVISION", "POD-REVISIONS")
	wanted := map[string][]string{}
	for _, ns := range namespaces.Items {
		rev := ns.Labels[revisionLabel]
		if ns.Labels["istio-injection"] == "enabled" {
			rev = "default"
		}
		if rev != "" {
			wanted[rev] = append(wanted[rev], ns.Name)
			w.row(ns.Name, rev, cmp.Or(tallyOf(have[ns.Name]), "<no pods>"))
		}
	}
	if err := w.flush(); err != nil {
		return err
	}
	fmt.Fprintln(env.Out)
	w = newTable(env.Out)
	w.row("NAMESPACES", "INJECTOR-HOOK", "ISTIO-REVISION")
	for _, h := range hooks.Items {
		if rev := h.Labels[revisionLabel]; rev != "" {
			of := cmp.Or(h.Labels["istio.io/tag"], rev)
			w.row(cmp.Or(strings.Join(wanted[of], ","), "DOES NOT AUTOINJECT"), h.Name, rev)
		}
	}
	return w.flush()
}

// newConfigCommand shows what this tool's flags default to.
func newConfigCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Look at this tool's settings"}
	var home homeFlags
	list := &cobra.Command{
		Use: "list", Short: "List the settings and where they come from", Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := newTable(env.Out)
			w.row("FLAG", "VALUE", "FROM")
			for _, s := range []struct{ flag, variable string }{{"name", "LATEEN_NAME"}, {"kubeconfig", "KUBECONFIG"}, {"context", ""}, {"istioNamespace", ""}, {"revision", ""}} {
				fl, from := cmd.Flags().Lookup(s.flag), "default"
				value := fl.Value.String()
				switch {
				case fl.Changed:
					from = "flag"
				case s.variable != "" && env.Getenv(s.variable) != "":
					value, from = env.Getenv(s.variable), "$"+s.variable
				}
				w.row(s.flag, value, from)
			}
			return w.flush()
		},
	}
	home.register(env, list)
	cmd.AddCommand(list)
	return cmd
}
