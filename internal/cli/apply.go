package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/controlplane/configapi"
)

// changeFlags are the flags that apply and delete share.
type changeFlags struct {
	home      homeFlags
	inputs    inputFlags
	namespace string
	wait      bool
	strict    bool
	timeout   time.Duration
	dryRun    string
}

func (f *changeFlags) register(env *Env, cmd *cobra.Command, purpose string) {
	f.home.register(env, cmd)
	f.inputs.register(cmd, purpose)
	flags := cmd.Flags()
	flags.StringVarP(&f.namespace, "namespace", "n", "", "namespace of objects that name none")
	flags.BoolVar(&f.wait, "wait", false, "wait until every proxy has the change in force")
	flags.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long to wait, at most 10m")
	flags.StringVar(&f.dryRun, "dry-run", "none", "server: only say what would change")
	flags.Lookup("dry-run").NoOptDefVal = "server"
}

// dry reads --dry-run, whose values are kubectl's.
func (f *changeFlags) dry() (bool, error) {
	switch f.dryRun {
	case "server", "client", "true":
		return true, nil
	case "none", "false":
		return false, nil
	}
	return false, usage("unknown --dry-run %q: use server or none", f.dryRun)
}

func newApplyCommand(env *Env) *cobra.Command {
	var f changeFlags
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Apply configuration to a running mesh",
		Long: `Apply Istio and Kubernetes objects from files, directories or standard input to a
running mesh. All objects of one command come into force together, or none does
and every mistake is named with its file, line and field. With --wait the verdicts
on the objects follow, where they are not effective.`,
		Example: `  lateen apply -f routes.yaml --wait
  cat routes.yaml | lateen apply -f -`,
		Args: usageArgs(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(f.inputs.files) == 0 {
				return usage("must specify -f")
			}
			f.wait = f.wait || f.strict
			return f.apply(cmd.Context(), env)
		},
	}
	f.register(env, cmd, "apply")
	cmd.Flags().BoolVar(&f.strict, "strict", false, "wait, and fail if an object does not act as written: invalid, unsupported or not acted on")
	return cmd
}

func (f *changeFlags) apply(ctx context.Context, env *Env) error {
	dry, err := f.dry()
	if err != nil {
		return err
	}
	files, err := f.inputs.read(env)
	if err != nil {
		return err
	}
	if err := f.home.refuseCluster(env, "kubectl apply"); err != nil {
		return err
	}
	client, err := f.home.mesh.client(env)
	if err != nil {
		return err
	}
	changes, err := client.Apply(ctx, files, configapi.ChangeOptions{Namespace: f.namespace, DryRun: dry})
	if err != nil {
		return f.home.mesh.explain(env, err)
	}
	for _, w := range changes.Warnings {
		fmt.Fprintln(env.Err, "Warning: "+w.String())
	}
	for _, o := range changes.Objects {
		fmt.Fprintf(env.Out, "%s/%s %s%s\n", o.Resource, o.Name, o.Change, drySuffix(dry))
	}
	if f.wait && !dry {
		waited := f.await(ctx, env, client, changes.Revision)
		bad, err := tellVerdicts(ctx, env, client, changes.Objects)
		if err != nil && !f.strict {
			fmt.Fprintf(env.Err, "the verdicts are not known: %v\n", err)
			return waited
		}
		if bad > 0 {
			if !f.strict {
				return waited
			}
			err = &ExitError{Code: ExitFound, Err: fmt.Errorf("%s not act as written", count(bad, "object does", "objects do"))}
		}
		return errors.Join(waited, err)
	}
	return nil
}

func drySuffix(dry bool) string {
	if dry {
		return " (server dry run)"
	}
	return ""
}

// await waits until the revision is in force and says what became of it.
func (f *changeFlags) await(ctx context.Context, env *Env, client *configapi.Client, revision int64) error {
	report, err := client.Wait(ctx, revision, f.timeout)
	if err != nil {
		return f.home.mesh.explain(env, err)
	}
	if report.Done() {
		fmt.Fprintf(env.Err, "in force on %s\n", count(len(report.Proxies), "proxy", "proxies"))
		return nil
	}
	var pending []string
	rejected := 0
	for _, p := range report.Proxies {
		switch p.State {
		case configapi.Rejected:
			rejected++
			text := p.Proxy + " refused the change: " + p.Reason
			if p.Object != "" {
				text += " (from " + p.Object + ")"
			}
			fmt.Fprintln(env.Err, text)
		case configapi.Pending:
			name := p.Proxy
			if p.Reason != "" {
				name += " (" + p.Reason + ")"
			}
			pending = append(pending, name)
		}
	}
	if rejected > 0 {
		return errors.New(count(rejected, "proxy", "proxies") + " refused the change and keep the configuration before it")
	}
	return fmt.Errorf("not in force everywhere after %s; still waiting for %s", f.timeout, strings.Join(pending, ", "))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
