package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/install"
)

// precheckFlags are the flags of precheck.
type precheckFlags struct {
	cluster     clusterFlags
	settings    settingsFlags
	fromVersion string
}

func newPrecheckCommand(env *Env) *cobra.Command {
	var f precheckFlags
	cmd := &cobra.Command{
		Use:   "precheck",
		Short: "Look whether the mesh can be installed or upgraded",
		Long: `Look whether an installation would succeed: the version of Kubernetes, the
caller's rights, objects and kinds that somebody else has installed, namespaces
whose revision nobody serves, and what the cluster's admission would refuse.
Nothing is changed. The exit code is 79 if there are issues.`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), env) },
	}
	f.cluster.register(cmd)
	f.settings.register(cmd)
	cmd.Flags().StringVarP(&f.fromVersion, "from-version", "", "", "version of Istio that is moved away from; accepted, no check depends on it")
	return cmd
}

// newExperimentalCommand is where Istio's tool has commands that scripts call by
// `x`.
func newExperimentalCommand(env *Env) *cobra.Command {
	cmd := &cobra.Command{Use: "x", Aliases: []string{"experimental", "exp"}, Short: "Names of commands as Istio's tool has them"}
	cmd.AddCommand(newPrecheckCommand(env), newCheckInjectCommand(env))
	addExperimental(env, cmd)
	return cmd
}

func (f *precheckFlags) run(ctx context.Context, env *Env) error {
	plan, err := f.settings.plan(env, f.cluster.namespace)
	if err != nil {
		return err
	}
	cluster, err := f.cluster.connect(ctx)
	if err != nil {
		return err
	}
	in := &install.Installer{Cluster: cluster, Say: func(line string) { fmt.Fprintln(env.Out, line) }}
	found, err := in.Precheck(ctx, plan)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		fmt.Fprintln(env.Out, "✔ No issues found when checking the cluster. Lateen is safe to install or upgrade!")
		return nil
	}
	var lines []string
	for _, finding := range found {
		lines = append(lines, finding.String())
	}
	fmt.Fprintln(env.Out, strings.Join(lines, "\n"))
	return &ExitError{Code: ExitFound, Err: fmt.Errorf("issues found when checking the cluster: Lateen may not be safe to install or upgrade")}
}
