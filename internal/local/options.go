package local

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"

	"github.com/lateen-mesh/lateen/internal/local/netns"
)

// Where a role of the mesh runs.
const (
	InProcess = "in-process"
	Process   = "process"
)

// Kinds of sidecars.
const (
	Native = "native"
	Envoy  = "envoy"
)

// ProxyAnnotation, on a pod template, chooses the pod's sidecar: native or envoy.
const ProxyAnnotation = "lateen.dev/proxy"

// Options configure a mesh.
type Options struct {
	Name string // of the mesh; default "default"
	Dirs Dirs
	// Config are files and directories that are followed; none means Bookinfo,
	// which is applied once.
	Config []string
	// AutoPorts takes any free ports for the gateway and the console, instead of 8080,
	// 8443 and 20001 or the next free ones.
	AutoPorts bool
	// ReadOnlyConsole refuses changes through the console.
	ReadOnlyConsole bool
	// ControlPlane and Proxies are InProcess (default) or Process.
	ControlPlane, Proxies string
	// Sidecar is Native (default) or Envoy; EnvoyPath is needed for the latter.
	Sidecar, EnvoyPath string
	// OnDemand lets sidecars hold only what their workloads call (OnDemandAnnotation).
	OnDemand bool
	Network  netns.Config
	// Command is this binary's path and the arguments of its hidden roles.
	Roles Roles
	// Progress gets one line for each step; nil discards.
	Progress func(line string)
	// Log gets the log of the mesh's own parts.
	Log      io.Writer
	LogLevel string // "info", "info,push:debug"
	Version  string
}

// Roles are the arguments with which this binary runs its other roles.
type Roles struct {
	SandboxSetup, SandboxInit []string
	ControlPlane              []string
	Proxy                     []string // followed by lateen-proxy's arguments
	Agent                     []string // followed by the name of its description
}

// Dirs are a mesh's directories.
type Dirs struct {
	State   string // configuration, keys, output: kept
	Runtime string // sockets: gone with the mesh
}

var meshName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)

func (o *Options) complete() error {
	if o.Name == "" {
		o.Name = "default"
	}
	if !meshName.MatchString(o.Name) {
		return fmt.Errorf("%q cannot be the name of a mesh: use at most 40 lower-case letters, digits and hyphens", o.Name)
	}
	for _, m := range []*string{&o.ControlPlane, &o.Proxies} {
		switch *m {
		case "":
			*m = InProcess
		case InProcess, Process:
		default:
			return fmt.Errorf("%q is no place to run: use %s or %s", *m, InProcess, Process)
		}
	}
	switch o.Sidecar {
	case "":
		o.Sidecar = Native
	case Native:
	case Envoy:
		if o.EnvoyPath == "" {
			return errors.New("an Envoy as the sidecar needs its path: --envoy PATH")
		}
	default:
		return fmt.Errorf("%q is no kind of sidecar: use %s or %s", o.Sidecar, Native, Envoy)
	}
	if o.EnvoyPath != "" {
		path, err := filepath.Abs(o.EnvoyPath)
		if err != nil {
			return err
		}
		o.EnvoyPath = path
	}
	for i, c := range o.Config {
		path, err := filepath.Abs(c)
		if err != nil {
			return err
		}
		o.Config[i] = path
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Log == nil {
		o.Log = io.Discard
	}
	o.Network = o.Network.WithDefaults()
	return nil
}
