package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"
)

// buildInfo is what `lateen version -o json` prints.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readBuildInfo() buildInfo {
	b := buildInfo{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// component is one replica of the control plane.
type component struct {
	Component string `json:"component"`
	Version   string `json:"version"`
}

// proxyVersion is the version of one proxy.
type proxyVersion struct {
	ID      string `json:"id"`
	Version string `json:"version"`
}

// versions is what `lateen version -o json` prints.
type versions struct {
	Client    buildInfo      `json:"clientVersion"`
	Mesh      []component    `json:"meshVersion,omitempty"`
	DataPlane []proxyVersion `json:"dataPlaneVersion,omitempty"`
}

// versionFlags are the flags of version.
type versionFlags struct {
	home          homeFlags
	remote, short bool
	output        string
}

func newVersionCommand(env *Env) *cobra.Command {
	var f versionFlags
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this binary, the control plane and the proxies",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	f.home.register(env, cmd)
	cmd.Flags().BoolVar(&f.remote, "remote", true, "ask the mesh for its versions, if there is one")
	cmd.Flags().BoolVarP(&f.short, "short", "s", true, "the versions alone, without how this binary was built")
	cmd.Flags().StringVarP(&f.output, "output", "o", "", "output format: json, yaml")
	return cmd
}

func (f *versionFlags) run(ctx context.Context, env *Env) error {
	if err := oneOf(f.output, "", "json", "yaml"); err != nil {
		return err
	}
	v := versions{Client: readBuildInfo()}
	var missing error
	if f.remote {
		missing = f.ask(ctx, env, &v)
	}
	if f.output != "" {
		return errors.Join(printDocument(env, v, f.output), missing)
	}
	fmt.Fprintf(env.Out, "client version: %s\n", v.Client.Version)
	if !f.short {
		fmt.Fprintf(env.Out, "built with: %s for %s\n", v.Client.Go, v.Client.Platform)
	}
	if len(v.Mesh) > 0 {
		fmt.Fprintf(env.Out, "control plane version: %s\n", tally(v.Mesh, func(c component) string { return c.Version }, ""))
		fmt.Fprintf(env.Out, "data plane version: %s\n", tally(v.DataPlane, func(p proxyVersion) string { return p.Version }, "none"))
	}
	return missing
}

// ask asks the mesh. A mesh that is not there is no error, unless the user named it.
func (f *versionFlags) ask(ctx context.Context, env *Env, v *versions) error {
	h, err := f.home.open(ctx, env)
	if err != nil {
		if errors.Is(err, errNowhere) {
			return nil
		}
		return err
	}
	planes, err := h.Planes(ctx)
	if err != nil {
		fmt.Fprintln(env.Err, h.Explain(env, err))
		return nil
	}
	for _, p := range planes {
		text, err := p.api.Page(ctx, "/version")
		if err != nil {
			fmt.Fprintln(env.Err, h.Explain(env, err))
			return nil
		}
		var said struct{ Version string }
		if err := json.Unmarshal(text, &said); err != nil {
			return fmt.Errorf("the version of %s: %w", p.name, err)
		}
		v.Mesh = append(v.Mesh, component{p.name, said.Version})
	}
	list, err := connectedProxies(ctx, h)
	if err != nil {
		return h.Explain(env, err)
	}
	v.DataPlane = make([]proxyVersion, len(list))
	group, limit := sync.WaitGroup{}, make(chan struct{}, 8)
	for i, p := range list {
		group.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			v.DataPlane[i] = proxyVersion{p.Name, cmp.Or(p.Version, serverVersion(ctx, h, p.Name))}
		})
	}
	group.Wait()
	return nil
}

// serverVersion asks a proxy itself; its page has "NAME/VERSION/…" for ours and
// "COMMIT/VERSION/…" for Envoy.
func serverVersion(ctx context.Context, h home, instance string) string {
	text, err := h.Admin(ctx, instance, "GET", "server_info")
	var said struct{ Version string }
	if err != nil || json.Unmarshal(text, &said) != nil {
		return "unknown"
	}
	switch parts := strings.Split(said.Version, "/"); {
	case len(parts) > 1 && parts[0] == "lateen-proxy":
		return cmp.Or(parts[1], "unknown")
	case len(parts) > 1:
		return "envoy " + parts[1]
	}
	return "unknown"
}

// tally lists versions; of several, or of proxies, with how many have each, as
// istioctl does: "1.2.0 (6 proxies)".
func tally[T any](list []T, version func(T) string, none string) string {
	count := map[string]int{}
	for _, x := range list {
		count[version(x)]++
	}
	if len(count) == 0 {
		return none
	}
	var all []string
	for _, v := range slices.Sorted(maps.Keys(count)) {
		text := v
		if none != "" {
			text += fmt.Sprintf(" (%s)", countOf(count[v]))
		} else if len(count) > 1 {
			text += fmt.Sprintf(" (%d replicas)", count[v])
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}

func countOf(proxies int) string { return count(proxies, "proxy", "proxies") }

// tallyOf lists how many have each value: "default: 3, canary: 1".
func tallyOf(count map[string]int) string {
	var all []string
	for _, v := range slices.Sorted(maps.Keys(count)) {
		all = append(all, fmt.Sprintf("%s: %d", v, count[v]))
	}
	return strings.Join(all, ", ")
}
