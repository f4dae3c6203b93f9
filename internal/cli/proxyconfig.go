package cli

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/cli/dump"
)

// proxyConfigFlags are the flags of proxy-config's subcommands.
type proxyConfigFlags struct {
	mesh              meshFlag
	namespace, output string
}

// proxyConfigPart is one subcommand: what it fetches from the proxy's admin
// interface, and how it is printed.
type proxyConfigPart struct {
	name, alias, short string
	path               string
	print              func(w io.Writer, text []byte) error
}

var proxyConfigParts = []proxyConfigPart{
	{"listener", "l", "Show listeners and what their filter chains lead to", "config_dump", fromDump((*dump.Config).WriteListeners)},
	{"route", "r", "Show routes", "config_dump", fromDump((*dump.Config).WriteRoutes)},
	{"cluster", "c", "Show clusters", "config_dump", fromDump((*dump.Config).WriteClusters)},
	{"endpoint", "ep", "Show endpoints and their health", "clusters?format=json", dump.WriteEndpoints},
	{"secret", "s", "Show certificates, without keys", "config_dump", fromDump(func(c *dump.Config, w io.Writer) error { return c.WriteSecrets(w, time.Now()) })},
	{"all", "a", "Show listeners, routes, clusters and secrets", "config_dump", fromDump(printAll)},
}

// fromDump prints from a parsed configuration dump.
func fromDump(print func(*dump.Config, io.Writer) error) func(io.Writer, []byte) error {
	return func(w io.Writer, text []byte) error {
		c, err := dump.Parse(text)
		if err != nil {
			return err
		}
		return print(c, w)
	}
}

func printAll(c *dump.Config, w io.Writer) error {
	for i, print := range []func(io.Writer) error{
		c.WriteClusters, c.WriteListeners, c.WriteRoutes, func(w io.Writer) error { return c.WriteSecrets(w, time.Now()) },
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
		Use:     "proxy-config listener|route|cluster|endpoint|secret|all WORKLOAD[.NAMESPACE]",
		Aliases: []string{"pc"},
		Short:   "Show what a proxy runs on, as the proxy itself says",
		Args:    usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage("say what to show: listener, route, cluster, endpoint, secret or all")
		},
	}
	for _, part := range proxyConfigParts {
		cmd.AddCommand(newProxyConfigPart(env, part))
	}
	return cmd
}

func newProxyConfigPart(env *Env, part proxyConfigPart) *cobra.Command {
	var f proxyConfigFlags
	cmd := &cobra.Command{
		Use:     part.name + " WORKLOAD[.NAMESPACE]",
		Aliases: []string{part.alias, part.name + "s"},
		Short:   part.short,
		Args:    usageArgs(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := f.fetch(cmd.Context(), env, args[0], part.path)
			if err != nil {
				return err
			}
			switch f.output {
			case "json":
				_, err = fmt.Fprintln(env.Out, strings.TrimSpace(string(text)))
				return err
			case "", "short", "table":
				return part.print(env.Out, text)
			}
			return usage("unknown output format %q: use json or table", f.output)
		},
	}
	f.mesh.register(env, cmd)
	cmd.Flags().StringVarP(&f.namespace, "namespace", "n", "", "namespace of the workload")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "output format: json, table")
	return cmd
}

// fetch asks the admin interface of the workload's proxy, through the mesh.
func (f *proxyConfigFlags) fetch(ctx context.Context, env *Env, workload, path string) ([]byte, error) {
	proxy, err := findProxy(ctx, f.mesh.meshClient(env), workload, f.namespace)
	if err != nil {
		return nil, f.mesh.explainMesh(err)
	}
	name, ns, _ := strings.Cut(proxy.Name, ".")
	var d net.Dialer
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return d.DialContext(ctx, "unix", filepath.Join(runtimeDir(env, f.mesh.name), "control.sock"))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://mesh/v1/proxies/"+ns+"/"+name+"/admin/"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, f.mesh.explainMesh(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the answer of the proxy: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the proxy of %s answers %s: %s", proxy.Name, resp.Status, strings.TrimSpace(string(text)))
	}
	return text, nil
}
