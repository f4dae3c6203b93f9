// Package command is `lateen-proxy cni`: the node's agent, and the plugin that it
// installs.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/lateen-mesh/lateen/internal/cni"
	"github.com/lateen-mesh/lateen/internal/ops"
)

// Name and Summary are for the table of commands.
const (
	Name    = "cni"
	Summary = "redirect pods' traffic without privilege in the pods: cni install, cni plugin"
)

// Arguments gives the arguments of a process: those that it was started with, or
// `cni plugin` if a container runtime started it by the plugin's name.
func Arguments(args []string) []string {
	if cni.IsPlugin(args[0]) {
		return []string{Name, "plugin"}
	}
	return args[1:]
}

// code is an exit code whose reason was told already.
type code int

func (c code) Error() string { return "the plugin refused; the reason is on standard output" }

// ExitCode is the exit code of the process.
func (c code) ExitCode() int { return int(c) }

// Run runs the agent until ctx ends, or the plugin once.
func Run(ctx context.Context, _, errs io.Writer, getenv func(string) string, args []string) error {
	if len(args) == 0 {
		return errors.New("say `cni install` (the node's agent) or `cni plugin` (what runtimes call)")
	}
	switch args[0] {
	case "plugin":
		if n := cni.RunPlugin(); n != 0 {
			return code(n)
		}
		return nil
	case "install":
		o, err := parse(errs, getenv, args[1:])
		if err != nil {
			return err
		}
		if o.API, err = cni.InCluster(getenv); err != nil {
			return err
		}
		return cni.Run(ctx, *o)
	}
	return fmt.Errorf("there is no command %q: say install or plugin", args[0])
}

// parse reads the flags of `cni install`.
func parse(errs io.Writer, getenv func(string) string, args []string) (*cni.Options, error) {
	o := &cni.Options{}
	var exclude, policy, repair, logLevel string
	fs := flag.NewFlagSet(Name+" install", flag.ContinueOnError)
	fs.SetOutput(errs)
	fs.StringVar(&o.Node, "node", getenv("NODE_NAME"), "the node's name ($NODE_NAME)")
	fs.StringVar(&o.Namespace, "namespace", getenv("POD_NAMESPACE"), "the agent's namespace ($POD_NAMESPACE)")
	fs.StringVar(&o.DaemonSet, "daemonset", "istio-cni-node", "the agent's DaemonSet")
	fs.StringVar(&o.BinDir, "bin-dir", "/host/opt/cni/bin", "the host's folder of CNI plugins, as mounted")
	fs.StringVar(&o.ConfDir, "conf-dir", "/host/etc/cni/net.d", "the host's folder of CNI configurations, as mounted")
	fs.StringVar(&o.ConfName, "conf-name", "", "file to write there (default 00-lateen-cni.conflist, or lateen-cni.conf if not chained); it must come first by name")
	fs.BoolVar(&o.Chained, "chained", true, "chain the plugin to the node's network; false: write a configuration for Multus to call")
	fs.StringVar(&o.SocketDir, "socket-dir", "/var/run/lateen-cni", "folder of the agent's socket, as mounted")
	fs.StringVar(&o.HostSocketDir, "host-socket-dir", "/var/run/lateen-cni", "the same folder on the host")
	fs.StringVar(&o.NetnsDir, "netns-dir", "/host/proc", "the host's /proc, or its folder of network namespaces, as mounted; for repair")
	fs.StringVar(&policy, "failure-policy", string(cni.Fail), "Fail: pods wait while the agent is away; Ignore: they start, and are repaired later")
	fs.StringVar(&exclude, "exclude-namespaces", "kube-system", "namespaces whose pods are never redirected, with commas")
	fs.StringVar(&repair, "repair", string(cni.RepairPods), "what to do with pods that started without redirection: repair, delete, label, off")
	fs.StringVar(&o.RepairLabel, "repair-label", "cni.istio.io/uninitialized=true", "label to set on them")
	fs.BoolVar(&o.RemoveTaint, "remove-taint", true, "take the taint "+cni.NotReadyTaint+" from the node when the plugin is installed")
	fs.StringVar(&o.Ready, "ready-address", ":8000", "address of /readyz; empty: none")
	fs.StringVar(&o.Metrics, "metrics-address", ":15014", "address of /metrics; empty: none")
	fs.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("unexpected argument %q", fs.Arg(0))
	}
	if o.Node == "" || o.Namespace == "" {
		return nil, errors.New("the node's name and the agent's namespace are needed: --node, --namespace")
	}
	if o.ConfName == "" {
		o.ConfName = map[bool]string{true: "00-lateen-cni.conflist", false: "lateen-cni.conf"}[o.Chained]
	}
	for s := range strings.SplitSeq(exclude, ",") {
		if s = strings.TrimSpace(s); s != "" {
			o.ExcludeNamespaces = append(o.ExcludeNamespaces, s)
		}
	}
	levels := ops.NewLevels(slog.LevelInfo)
	if err := levels.Apply(logLevel); err != nil {
		return nil, err
	}
	o.Log = ops.NewLogger(errs, ops.ParseForm(getenv("LOG_FORMAT")), levels)
	var err error
	if o.Binary, err = os.Executable(); err != nil {
		return nil, err
	}
	return o, choices(o, policy, repair)
}

func choices(o *cni.Options, policy, repair string) error {
	switch o.FailurePolicy = cni.FailurePolicy(policy); o.FailurePolicy {
	case cni.Fail, cni.Ignore:
	default:
		return fmt.Errorf("--failure-policy %q is neither Fail nor Ignore", policy)
	}
	switch o.Repair = cni.RepairMode(repair); o.Repair {
	case cni.RepairPods, cni.RepairDelete, cni.RepairLabel, cni.RepairOff:
	default:
		return fmt.Errorf("--repair %q is none of repair, delete, label, off", repair)
	}
	if key, _, ok := strings.Cut(o.RepairLabel, "="); !ok || key == "" {
		return fmt.Errorf("--repair-label %q is not of the form key=value", o.RepairLabel)
	}
	return nil
}
