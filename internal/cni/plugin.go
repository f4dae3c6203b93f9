package cni

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	cni100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/lateen-mesh/lateen/internal/intercept"
)

// PluginName is the plugin's name in configurations, and that of its binary.
const PluginName = "lateen-cni"

// FailurePolicy says what happens to a new pod when the agent does not decide.
type FailurePolicy string

const (
	Fail   FailurePolicy = "Fail"   // the pod waits: the kubelet tries again
	Ignore FailurePolicy = "Ignore" // the pod starts; the agent finds it later
)

// pluginConfig is the plugin's entry in the network configuration.
type pluginConfig struct {
	CNIVersion        string        `json:"cniVersion,omitempty"`
	Name              string        `json:"name,omitempty"`
	Type              string        `json:"type"`
	Socket            string        `json:"socket"`
	FailurePolicy     FailurePolicy `json:"failurePolicy"`
	ExcludeNamespaces []string      `json:"excludeNamespaces,omitempty"`
	// AgentNamespace and AgentPrefix tell the agent's own pods, which must start
	// while no agent is there.
	AgentNamespace string `json:"agentNamespace"`
	AgentPrefix    string `json:"agentPrefix"`
}

// podArgs are the runtime's arguments (CNI_ARGS); their names are fixed by the
// runtimes.
type podArgs struct {
	types.CommonArgs
	K8S_POD_NAME      types.UnmarshallableString //nolint:revive,staticcheck // matched by name
	K8S_POD_NAMESPACE types.UnmarshallableString //nolint:revive,staticcheck
	K8S_POD_UID       types.UnmarshallableString //nolint:revive,staticcheck

	K8S_POD_INFRA_CONTAINER_ID types.UnmarshallableString //nolint:revive,staticcheck
}

// agentTimeout bounds the wait for the agent, which itself tries the API server
// several times. The kubelet gives a sandbox minutes.
const agentTimeout = 40 * time.Second

// IsPlugin tells by the program's name whether a runtime calls it as the plugin.
func IsPlugin(program string) bool { return filepath.Base(program) == PluginName }

// RunPlugin is the plugin: it does what the runtime asks for in the environment
// and on standard input (CNI specification, section 2), answers on standard output
// and gives the process's exit code.
func RunPlugin() int {
	err := skel.PluginMainFuncsWithError(skel.CNIFuncs{
		Add:   add,
		Check: check,
		// A pod's rules end with its namespace, and need no agent to.
		Del: func(*skel.CmdArgs) error { return nil },
		GC:  func(*skel.CmdArgs) error { return nil },
		// The plugin is never what keeps a node from being ready: the agent, which it
		// waits for, is itself a pod.
		Status: func(*skel.CmdArgs) error { return nil },
	}, version.All, PluginName+" redirects pods' traffic to their proxies")
	if err == nil {
		return 0
	}
	if perr := err.Print(); perr != nil {
		fmt.Fprintln(os.Stderr, perr)
	}
	return 1
}

// parseConfig reads what the runtime gives: our entry, and the result of the
// plugin before ours, if there is one.
func parseConfig(stdin []byte) (c *pluginConfig, previous types.Result, err error) {
	var network types.PluginConf
	if err := errors.Join(json.Unmarshal(stdin, &network), json.Unmarshal(stdin, &c)); err != nil {
		return nil, nil, types.NewError(types.ErrDecodingFailure, "network configuration: "+err.Error(), "")
	}
	if err := version.ParsePrevResult(&network); err != nil {
		return nil, nil, types.NewError(types.ErrDecodingFailure, "previous result: "+err.Error(), "")
	}
	if c.Socket == "" {
		return nil, nil, types.NewError(types.ErrInvalidNetworkConfig, PluginName+": the agent's socket is not set", "")
	}
	if c.FailurePolicy != Fail && c.FailurePolicy != Ignore {
		return nil, nil, types.NewError(types.ErrInvalidNetworkConfig, fmt.Sprintf("%s: failurePolicy %q is neither Fail nor Ignore", PluginName, c.FailurePolicy), "")
	}
	return c, network.PrevResult, nil
}

// add redirects a new pod's traffic and hands on the previous plugin's result.
func add(args *skel.CmdArgs) error {
	c, previous, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	if err := c.handle(args, intercept.Install); err != nil {
		return err
	}
	if previous == nil { // not chained: Multus calls it for an attachment
		return types.PrintResult(&cni100.Result{CNIVersion: cni100.ImplementedSpecVersion}, c.CNIVersion)
	}
	return types.PrintResult(previous, c.CNIVersion)
}

// check looks whether a pod's redirection is there still.
func check(args *skel.CmdArgs) error {
	c, _, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	return c.handle(args, intercept.Installed)
}

// handle asks the agent about the pod and, if it is to be redirected, runs f in
// its namespace.
func (c *pluginConfig) handle(args *skel.CmdArgs, f func(intercept.PodOptions) error) error {
	var pod podArgs
	if err := types.LoadArgs(args.Args, &pod); err != nil {
		return types.NewError(types.ErrInvalidEnvironmentVariables, "CNI_ARGS: "+err.Error(), "")
	}
	q := question{Namespace: string(pod.K8S_POD_NAMESPACE), Name: string(pod.K8S_POD_NAME), UID: string(pod.K8S_POD_UID)}
	if q.Name == "" || slices.Contains(c.ExcludeNamespaces, q.Namespace) || c.isAgent(q) {
		return nil
	}
	ctx := context.Background()
	agent := dialAgent(c.Socket, agentTimeout)
	d, err := agent.decide(ctx, q)
	switch {
	case errors.Is(err, errNoDecision) && c.FailurePolicy == Ignore:
		fmt.Fprintf(os.Stderr, "%s: pod %s/%s starts without redirection: %v\n", PluginName, q.Namespace, q.Name, err)
		return nil
	case err != nil:
		return types.NewError(types.ErrTryAgainLater, fmt.Sprintf("%s: pod %s/%s: %v", PluginName, q.Namespace, q.Name, err), "")
	case d.Options == nil:
		return nil
	}
	err = within(args.Netns, func() error { return f(*d.Options) })
	o := outcome{question: q, Netns: args.Netns}
	if err != nil {
		o.Error = err.Error()
	}
	if rerr := agent.report(ctx, o); rerr != nil {
		fmt.Fprintf(os.Stderr, "%s: pod %s/%s: reporting: %v\n", PluginName, q.Namespace, q.Name, rerr)
	}
	if err != nil {
		return types.NewError(types.ErrInternal, fmt.Sprintf("%s: pod %s/%s: %v", PluginName, q.Namespace, q.Name, err), "")
	}
	return nil
}

func (c *pluginConfig) isAgent(q question) bool {
	return q.Namespace == c.AgentNamespace && c.AgentPrefix != "" && strings.HasPrefix(q.Name, c.AgentPrefix)
}

// within runs f in the network namespace of that path.
func within(path string, f func() error) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("the pod's network namespace: %w", err)
	}
	defer file.Close()
	n, err := intercept.OpenNamespace(int(file.Fd()))
	if err != nil {
		return err
	}
	return errors.Join(n.Do(f), n.Close())
}
