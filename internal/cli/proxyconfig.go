package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/cli/dump"
)

// proxyConfigFlags are the flags of proxy-config's subcommands; each has those of
// its part.
type proxyConfigFlags struct {
	home                    homeFlags
	namespace, output, file string
	clusters                dump.Clusters
	listeners               dump.Listeners
	endpoints               dump.Endpoints
	route                   string
	verbose                 bool
}

// proxyConfigPart is one subcommand: what it fetches from the proxy's admin
// interface, and how it is printed.
type proxyConfigPart struct {
	name, alias, short string
	path               string
	flags              func(f *proxyConfigFlags, cmd *cobra.Command)
	print              func(f *proxyConfigFlags, w io.Writer, text []byte) error
}

var proxyConfigParts = []proxyConfigPart{
	{"cluster", "c", "Show clusters: what requests can be sent to", "config_dump", clusterFlagsOf, fromDump(printClusters)},
	{"listener", "l", "Show listeners and what their filter chains lead to", "config_dump", listenerFlags, fromDump(printListeners)},
	{"route", "r", "Show routes", "config_dump", routeFlags, fromDump(printRoutes)},
	{"endpoint", "ep", "Show endpoints and their health, as the proxy sees it", "clusters?format=json", endpointFlags, printEndpoints},
	{"eds", "", "Show the endpoints that the control plane told", "config_dump?include_eds", endpointFlags, fromDump(printAssigned)},
	{"bootstrap", "b", "Show what the proxy was started with, as JSON", "config_dump", nil, fromDump(printBootstrap)},
	{"ecds", "", "Show filters that are discovered by themselves", "config_dump", nil, fromDump(printExtensions)},
	{"secret", "s", "Show certificates, without keys", "config_dump", nil, printSecrets},
	{"all", "a", "Show clusters, listeners, routes, endpoints and secrets", "config_dump?include_eds", allFlags, printAll},
}

func clusterFlagsOf(f *proxyConfigFlags, cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.clusters.FQDN, "fqdn", "", "only clusters whose host contains this")
	fl.IntVar(&f.clusters.Port, "port", 0, "only clusters of this port")
	fl.StringVar(&f.clusters.Subset, "subset", "", "only clusters of this subset")
	fl.StringVar(&f.clusters.Direction, "direction", "", "only clusters of this direction: inbound, outbound")
}

func listenerFlags(f *proxyConfigFlags, cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.listeners.Address, "address", "", "only listeners at this address")
	fl.IntVar(&f.listeners.Port, "port", 0, "only listeners at this port")
	fl.StringVar(&f.listeners.Type, "type", "", "only listeners of this type: HTTP, TCP, HTTP+TCP")
	fl.BoolVar(&f.verbose, "verbose", true, "accepted: everything is shown")
}

func routeFlags(f *proxyConfigFlags, cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.route, "name", "", "only the route table of this name")
	cmd.Flags().BoolVar(&f.verbose, "verbose", true, "accepted: everything is shown")
}

func endpointFlags(f *proxyConfigFlags, cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.endpoints.Address, "address", "", "only endpoints at this address")
	fl.IntVar(&f.endpoints.Port, "port", 0, "only endpoints at this port")
	fl.StringVar(&f.endpoints.Cluster, "cluster", "", "only endpoints of this cluster")
	fl.StringVar(&f.endpoints.Status, "status", "", "only endpoints of this status: healthy, unhealthy, …")
}

func allFlags(f *proxyConfigFlags, cmd *cobra.Command) {
	clusterFlagsOf(f, cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.listeners.Address, "address", "", "only listeners at this address")
	fl.StringVar(&f.listeners.Type, "type", "", "only listeners of this type: HTTP, TCP, HTTP+TCP")
}

// fromDump prints from a parsed configuration dump.
func fromDump(print func(f *proxyConfigFlags, c *dump.Config, w io.Writer) error) func(*proxyConfigFlags, io.Writer, []byte) error {
	return func(f *proxyConfigFlags, w io.Writer, text []byte) error {
		c, err := dump.Parse(text)
		if err != nil {
			return err
		}
		return print(f, c, w)
	}
}

// raw tells whether messages are to be printed instead of tables.
func (f *proxyConfigFlags) raw() bool { return f.output == "json" || f.output == "yaml" }

func printClusters(f *proxyConfigFlags, c *dump.Config, w io.Writer) error {
	c.KeepClusters(f.clusters)
	if f.raw() {
		return dump.PrintList(w, c.Clusters, f.output)
	}
	return c.WriteClusters(w)
}

func printListeners(f *proxyConfigFlags, c *dump.Config, w io.Writer) error {
	c.KeepListeners(f.listeners)
	if f.raw() {
		return dump.PrintList(w, c.Listeners, f.output)
	}
	return c.WriteListeners(w)
}

func printRoutes(f *proxyConfigFlags, c *dump.Config, w io.Writer) error {
	c.KeepRoutes(f.route)
	if f.raw() {
		return dump.PrintList(w, slices.Concat(c.Routes, c.Inline), f.output)
	}
	return c.WriteRoutes(w)
}

func printEndpoints(f *proxyConfigFlags, w io.Writer, text []byte) error {
	if f.file != "" { // a configuration dump, which has the endpoints that were told
		return fromDump(func(f *proxyConfigFlags, c *dump.Config, w io.Writer) error {
			return dump.WriteEndpoints(w, f.endpoints.Keep(c.Assigned()))
		})(f, w, text)
	}
	if f.raw() {
		return dump.PrintText(w, text, f.output)
	}
	list, err := dump.ParseEndpoints(text)
	if err != nil {
		return err
	}
	return dump.WriteEndpoints(w, f.endpoints.Keep(list))
}

func printAssigned(f *proxyConfigFlags, c *dump.Config, w io.Writer) error {
	if f.raw() {
		return dump.PrintList(w, c.Endpoints, f.output)
	}
	return dump.WriteAssigned(w, f.endpoints.Keep(c.Assigned()))
}

func printBootstrap(f *proxyConfigFlags, c *dump.Config, w io.Writer) error {
	if c.Bootstrap == nil {
		return fmt.Errorf("the dump has no bootstrap")
	}
	return dump.Print(w, c.Bootstrap, f.output)
}

func printExtensions(f *proxyConfigFlags, c *dump.Config, w io.Writer) error {
	if f.raw() {
		return dump.PrintList(w, c.Extensions, f.output)
	}
	return c.WriteExtensions(w)
}

func printSecrets(f *proxyConfigFlags, w io.Writer, text []byte) error {
	if f.raw() {
		return dump.PrintSecrets(w, text, f.output)
	}
	c, err := dump.Parse(text)
	if err != nil {
		return err
	}
	return c.WriteSecrets(w, time.Now())
}

func printAll(f *proxyConfigFlags, w io.Writer, text []byte) error {
	if f.raw() {
		return dump.PrintText(w, text, f.output)
	}
	c, err := dump.Parse(text)
	if err != nil {
		return err
	}
	c.KeepClusters(f.clusters)
	f.listeners.Port = f.clusters.Port
	c.KeepListeners(f.listeners)
	for i, print := range []func(io.Writer) error{
		c.WriteClusters, c.WriteListeners, c.WriteRoutes,
		func(w io.Writer) error { return dump.WriteEndpoints(w, f.endpoints.Keep(c.Assigned())) },
		func(w io.Writer) error { return c.WriteSecrets(w, time.Now()) },
	} {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := print(w); err != nil {
			return err
		}
	}
	return nil
}

func newProxyConfigCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "proxy-config",
		Aliases: []string{"pc"},
		Short:   "Show what a proxy runs on, as the proxy itself says",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			return usage("say what to show: cluster, listener, route, endpoint, eds, bootstrap, log, ecds, secret, all, envoy-stats or rootca-compare")
		},
	}
	for _, part := range proxyConfigParts {
		cmd.AddCommand(newProxyConfigPart(env, part))
	}
	cmd.AddCommand(newProxyLogCommand(env), newEnvoyStatsCommand(env), newRootCompareCommand(env))
	return cmd
}

func newProxyConfigPart(env *Env, part proxyConfigPart) *cobra.Command {
	var f proxyConfigFlags
	cmd := &cobra.Command{
		Use:   part.name + " [NAME[.NAMESPACE] | KIND/NAME]",
		Short: part.short,
		Args:  usageArgs(cobra.MaximumNArgs(1)),
		RunE:  func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), env, part, args) },
	}
	if part.alias != "" {
		cmd.Aliases = []string{part.alias, part.name + "s"}
	}
	if part.flags != nil {
		part.flags(&f, cmd)
	}
	if part.name == "route" {
		f.home.mesh.flagName = "mesh-name" // --name is the route table's, as in istioctl
	}
	f.home.register(env, cmd)
	fl := cmd.Flags()
	fl.StringVarP(&f.namespace, "namespace", "n", "", "namespace of the proxy's pod")
	fl.StringVarP(&f.output, "output", "o", "short", "output format: short, json, yaml")
	fl.StringVarP(&f.file, "file", "f", "", "read a file with the proxy's configuration dump instead of asking the proxy")
	return cmd
}

func (f *proxyConfigFlags) run(ctx context.Context, env *Env, part proxyConfigPart, args []string) error {
	if err := oneOf(f.output, "short", "json", "yaml", "table", ""); err != nil {
		return err
	}
	if (f.file != "") == (len(args) == 1) {
		return usage("name a proxy, as NAME[.NAMESPACE] or KIND/NAME, or give a dump with -f")
	}
	if f.file != "" {
		text, err := readText(env, f.file)
		if err != nil {
			return err
		}
		return part.print(f, env.Out, []byte(text))
	}
	h, err := f.home.open(ctx, env)
	if err != nil {
		return err
	}
	instance, err := h.Instance(ctx, args[0], f.namespace)
	if err != nil {
		return h.Explain(env, err)
	}
	text, err := h.Admin(ctx, instance, "GET", part.path)
	if err != nil {
		return h.Explain(env, err)
	}
	return part.print(f, env.Out, text)
}
