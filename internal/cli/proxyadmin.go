package cli

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/cli/dump"
)

// proxyTarget is a proxy that a command names.
type proxyTarget struct {
	home      homeFlags
	namespace string
}

func (t *proxyTarget) register(env *Env, cmd *cobra.Command, taken ...string) {
	t.home.register(env, cmd, taken...)
	cmd.Flags().StringVarP(&t.namespace, "namespace", "n", "", "namespace of the proxy's pod")
}

// ask calls the admin interface of the proxy that what names.
func (t *proxyTarget) ask(ctx context.Context, env *Env, what, method, path string) (instance string, text []byte, err error) {
	h, err := t.home.open(ctx, env)
	if err != nil {
		return "", nil, err
	}
	if instance, err = h.Instance(ctx, what, t.namespace); err == nil {
		text, err = h.Admin(ctx, instance, method, path)
	}
	return instance, text, h.Explain(env, err)
}

func newProxyLogCommand(env *Env) *cobra.Command {
	var t proxyTarget
	var level string
	var reset bool
	cmd := &cobra.Command{
		Use:     "log NAME[.NAMESPACE] | KIND/NAME",
		Aliases: []string{"o"},
		Short:   "Show or change the log levels of a proxy",
		Example: `  lateen proxy-config log productpage-v1.default
  lateen proxy-config log productpage-v1.default --level debug
  lateen proxy-config log productpage-v1.default --level http:debug,rbac:trace
  lateen proxy-config log productpage-v1.default --reset`,
		Args: usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if reset && level != "" {
				return usage("give --level or --reset, not both")
			}
			if reset {
				level = "warning"
			}
			queries, err := levelQueries(level)
			if err != nil {
				return err
			}
			if len(queries) == 0 {
				instance, text, err := t.ask(cmd.Context(), env, args[0], "POST", "logging")
				if err == nil || !strings.Contains(err.Error(), "usage") {
					return printLevels(env, instance, text, err)
				}
				instance, text, err = t.ask(cmd.Context(), env, args[0], "GET", "logging")
				return printLevels(env, instance, text, err)
			}
			var instance string
			var text []byte
			for _, q := range queries {
				if instance, text, err = t.ask(cmd.Context(), env, args[0], "POST", "logging?"+q); err != nil {
					return err
				}
			}
			return printLevels(env, instance, text, nil)
		},
	}
	t.register(env, cmd, "r")
	cmd.Flags().StringVar(&level, "level", "", "levels to set: LEVEL for all, SCOPE:LEVEL,… for some")
	cmd.Flags().BoolVarP(&reset, "reset", "r", false, "set all levels to warning, the default")
	return cmd
}

// levelQueries turns --level into the queries of the proxy's page: a level for all
// first, then those of scopes.
func levelQueries(level string) ([]string, error) {
	var queries []string
	var paths []string
	for part := range strings.SplitSeq(level, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		scope, name, ok := strings.Cut(part, ":")
		switch {
		case !ok:
			queries = append(queries, "level="+url.QueryEscape(part))
		case scope == "" || name == "":
			return nil, usage("--level: %q is not of the form SCOPE:LEVEL", part)
		default:
			paths = append(paths, scope+":"+name)
		}
	}
	if len(paths) > 0 {
		queries = append(queries, "paths="+url.QueryEscape(strings.Join(paths, ",")))
	}
	return queries, nil
}

func printLevels(env *Env, instance string, text []byte, err error) error {
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out, "%s:\n%s\n", instance, strings.TrimRight(string(text), "\n"))
	return err
}

func newEnvoyStatsCommand(env *Env) *cobra.Command {
	var t proxyTarget
	var kind, output string
	cmd := &cobra.Command{
		Use:     "envoy-stats NAME[.NAMESPACE] | KIND/NAME",
		Aliases: []string{"es"},
		Short:   "Show the counters of a proxy",
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := ""
			switch kind + "/" + output {
			case "server/", "server/text":
				path = "stats"
			case "server/json":
				path = "stats?format=json"
			case "server/prom", "server/prom-merged":
				path = "stats/prometheus"
			case "clusters/", "clusters/text":
				path = "clusters"
			case "clusters/json":
				path = "clusters?format=json"
			default:
				return usage("--type is server or clusters, -o text, json or, for the server, prom; not %s and %q", kind, output)
			}
			_, text, err := t.ask(cmd.Context(), env, args[0], "GET", path)
			if err != nil {
				return err
			}
			_, err = env.Out.Write(text)
			return err
		},
	}
	t.register(env, cmd)
	cmd.Flags().StringVarP(&kind, "type", "t", "server", "what to show: server, clusters")
	cmd.Flags().StringVarP(&output, "output", "o", "", "output format: text, json, prom")
	return cmd
}

func newRootCompareCommand(env *Env) *cobra.Command {
	var t proxyTarget
	cmd := &cobra.Command{
		Use:     "rootca-compare PROXY1 PROXY2",
		Aliases: []string{"rc"},
		Short:   "Compare the roots of trust of two proxies",
		Args:    usageArgs(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			var names [2]string
			var roots [2][]string
			for i, arg := range args {
				instance, text, err := t.ask(cmd.Context(), env, arg, "GET", "config_dump")
				if err != nil {
					return err
				}
				if roots[i], err = dump.Roots(text); err != nil {
					return fmt.Errorf("%s: %w", instance, err)
				}
				names[i] = instance
			}
			if slices.Equal(roots[0], roots[1]) {
				fmt.Fprintf(env.Out, "Both [%s] and [%s] have the identical ROOTCA, theoretically the connectivity between them is available\n", names[0], names[1])
				return nil
			}
			for _, r := range roots[0] {
				if slices.Contains(roots[1], r) {
					fmt.Fprintf(env.Out, "[%s] and [%s] have ROOTCAs in common, but not all: while a root changes, that is how it is\n", names[0], names[1])
					return nil
				}
			}
			return fmt.Errorf("the ROOTCAs of %s and %s have no certificate in common: they cannot trust each other", names[0], names[1])
		},
	}
	t.register(env, cmd)
	return cmd
}
