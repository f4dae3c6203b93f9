package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/local"
	"github.com/lateen-mesh/lateen/internal/local/control"
)

// upFlags are the flags of `lateen up`.
type upFlags struct {
	mesh    meshFlag
	files   []string
	detach  bool
	ports   string
	output  string
	options local.Options
}

func newUpCommand(env *Env) *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:   "up [-f FILE|DIRECTORY]...",
		Short: "Run a mesh on this machine",
		Long: `Run a mesh on this machine: a control plane, an ingress gateway, and every
Deployment of the configuration as processes behind proxies of their own. Without
-f it is the sample application Bookinfo. Files and directories are followed:
what is saved there comes into force. It needs neither root nor containers.

The mesh ends with Ctrl-C, or with "lateen down".`,
		Example: `  lateen up
  lateen up -f ./manifests --name shop --ports auto --detach -o json`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	f.mesh.register(env, cmd)
	fl := cmd.Flags()
	fl.StringArrayVarP(&f.files, "filename", "f", nil, "file or directory with the configuration to run and follow (repeatable)")
	fl.BoolVarP(&f.detach, "detach", "d", false, "return when the mesh is ready, and let it run on")
	fl.StringVar(&f.ports, "ports", "standard", "ports of the gateway and the console on this machine: standard (8080, 8443 and 20001, or the next free ones) or auto (any free ones)")
	fl.StringVarP(&f.output, "output", "o", "", "output format: json")
	fl.BoolVar(&f.options.ReadOnlyConsole, "read-only-console", false, "refuse changes through the console")
	fl.StringVar(&f.options.ControlPlane, "control-plane", local.InProcess, "where the control plane runs: in-process or process")
	fl.StringVar(&f.options.Proxies, "proxies", local.InProcess, "where the proxies run: in-process or process")
	fl.BoolVar(&f.options.OnDemand, "on-demand", false, "let sidecars hold only what their workloads call, and ask at the first call")
	fl.StringVar(&f.options.Sidecar, "sidecar", local.Native, "kind of proxy for pods that do not choose: native or envoy")
	fl.StringVar(&f.options.EnvoyPath, "envoy", "", "path of an Envoy")
	fl.StringVar(&f.options.LogLevel, "log-level", "", "level, or level,scope:level,... of the mesh's own log")
	return cmd
}

func (f *upFlags) run(ctx context.Context, env *Env) error {
	switch {
	case f.output != "" && f.output != "json":
		return usage("unknown output format %q: use json", f.output)
	case f.ports != "auto" && f.ports != "standard":
		return usage("unknown --ports %q: use standard or auto", f.ports)
	}
	if _, err := f.mesh.client(env); err != nil { // checks the name
		return err
	}
	inner := env.Getenv(innerVariable) != ""
	if !inner {
		// A broken save of a running mesh keeps the last good content; a mesh that
		// starts has none, so it does not start.
		in := inputFlags{files: f.files, recursive: true}
		if err := checkInputs(env, &in, func(string, int, int) {}); err != nil {
			return err
		}
	}
	dirs, err := local.FindDirs(f.mesh.name, env.Getenv)
	if err != nil {
		return err
	}
	switch {
	case f.detach && !inner:
		return f.startDetached(ctx, env, dirs)
	case local.NeedsUserNamespace() && !inner:
		return f.startInNamespace(ctx, env, dirs)
	}
	return f.up(ctx, env, dirs)
}

// up runs the mesh in this process.
func (f *upFlags) up(ctx context.Context, env *Env, dirs local.Dirs) error {
	tell := newTeller(env)
	defer tell.close()
	o := f.options
	o.Name, o.Dirs, o.Config, o.AutoPorts = f.mesh.name, dirs, f.files, f.ports == "auto"
	o.Roles, o.Version = roles, readBuildInfo().Version
	if env.Getenv(detachedVariable) != "" {
		o.Log = env.Err // the log file
	} else if err := os.MkdirAll(filepath.Join(dirs.State, "logs"), 0o700); err != nil {
		return err
	} else {
		log, err := os.OpenFile(upLog(dirs), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
		if err != nil {
			return err
		}
		defer log.Close()
		o.Log = log
	}
	o.Progress = func(line string) { tell.send(upMessage{Step: line}) }
	err := local.Up(ctx, o, func(i control.Info, problems []string) {
		tell.send(upMessage{Ready: &i, Problems: problems})
		if tell.pipe == nil {
			f.report(env, i, problems)
		}
	})
	if err != nil {
		tell.send(upMessage{Error: err.Error()})
		if tell.pipe != nil {
			// The starting command prints it.
			return err
		}
	}
	return err
}

func upLog(dirs local.Dirs) string { return filepath.Join(dirs.State, "logs", "lateen.log") }

// report prints what a ready mesh has to say.
func (f *upFlags) report(env *Env, i control.Info, problems []string) {
	for _, p := range problems {
		fmt.Fprintln(env.Err, "Warning: "+p)
	}
	if f.output == "json" {
		enc := json.NewEncoder(env.Out)
		enc.SetIndent("", "  ")
		if err := enc.Encode(i); err != nil {
			fmt.Fprintln(env.Err, "lateen: "+err.Error())
		}
		return
	}
	path := "/"
	if len(f.files) == 0 {
		path = "/productpage"
	}
	fmt.Fprintln(env.Out, i.Ingress.HTTP+path)
	fmt.Fprintln(env.Err, "console: "+i.Console)
}

// upMessage is what a mesh in the background tells the command that started it.
type upMessage struct {
	Step     string        `json:"step,omitempty"`
	Ready    *control.Info `json:"ready,omitempty"`
	Problems []string      `json:"problems,omitempty"`
	Error    string        `json:"error,omitempty"`
}

// teller brings progress to whoever waits for it: a pipe to the starting command,
// or the user.
type teller struct {
	env *Env

	mu   sync.Mutex
	pipe io.WriteCloser // guarded by mu; nil: the user watches
	done bool           // guarded by mu
}

func newTeller(env *Env) *teller {
	t := &teller{env: env}
	if env.Getenv(detachedVariable) != "" {
		t.pipe = os.NewFile(3, "progress")
	}
	return t
}

func (t *teller) send(m upMessage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.pipe == nil:
		if m.Step != "" {
			fmt.Fprintln(t.env.Err, strings.TrimSpace(m.Step))
		}
	case !t.done:
		// A starting command that is gone does not matter to the mesh.
		_ = json.NewEncoder(t.pipe).Encode(m)
		if m.Ready != nil || m.Error != "" {
			t.done = true
			_ = t.pipe.Close()
		}
	}
}

func (t *teller) close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.pipe != nil && !t.done {
		_ = t.pipe.Close()
	}
	t.done = true
}
